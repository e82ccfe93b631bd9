"""Several local files as one item, through the commands that a person types."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from ingest_pipelines_tests.cli.terminal import Answer, Terminal

IMPORT = """\
database: customers
source:
  connection: uploads
  parts: {pattern: 'Split_(?P<serial>\\d+)_(?P<part>\\d+)\\.csv', manifest: "Split_{serial}.manifest"}
rejects: {max_rows: 5}
columns:
  CID: customer_id
  Points: {field: split_points, type: int}
  _file: {field: split_file, type: string}
"""


@pytest.fixture
def parted(starter: Terminal, tmp_path: Path) -> Path:
    """A folder with two parts of three, and an import of them."""
    (starter.folder / "imports" / "split.yaml").write_text(IMPORT, encoding="utf-8")
    folder = tmp_path / "delivery"
    folder.mkdir()
    (folder / "Split_1_1.csv").write_text("CID,Points\ns1,1\ns2,x\n", encoding="utf-8")
    (folder / "Split_1_2.csv").write_text("Points,CID\n3,s3\ny,s4\n", encoding="utf-8")
    (folder / "Split_1.manifest").write_text("Split_1_1.csv,2\nSplit_1_2.csv,2\n", encoding="utf-8")
    return folder


def flat(answer: Answer) -> str:
    return " ".join((answer.out + answer.err).split())


def test_a_part_is_named_and_its_whole_item_is_planned_loaded_and_replayed(starter: Terminal, parted: Path) -> None:
    manifest = (parted / "Split_1.manifest").read_text("utf-8")
    (parted / "Split_1.manifest").write_text(manifest + "Split_1_3.csv,1\n", encoding="utf-8")
    for command in ("plan", "run"):
        refused = starter.ingest(command, "split", "--file", parted / "Split_1_1.csv")
        assert refused.code == 2
        assert "waits for Split_1_3.csv: 2 of 3 files of Split_1.manifest are there" in flat(refused)
    assert "is no part, marker or manifest" in flat(starter.ingest("run", "split", "--file", __file__))

    (parted / "Split_1.manifest").write_text(manifest, encoding="utf-8")
    planned = starter.ingest("plan", "split", "--file", parted / "Split_1_1.csv", "--json")
    assert (planned.json["read"], planned.json["rejected"]) == (4, 2)
    loaded = starter.ingest("run", "split", "--file", parted / "Split_1_2.csv")
    assert loaded.code == 0, loaded.err
    assert "part 1 line 3, split_points: not a whole number" in flat(loaded)

    listed = starter.ingest("rejects", "list", "split")
    assert "part 1 line 3" in listed.out
    assert "part 2 line 3" in listed.out
    places = [(each["part"], each["line"]) for each in starter.ingest("rejects", "list", "split", "--json").json]
    assert places == [(1, 3), (2, 3)]
    assert starter.ingest("rejects", "export", "split", "-o", "split.csv").code == 0
    export = starter.folder / "split.csv"
    rows = list(csv.DictReader(io.StringIO(export.read_text(encoding="utf-8"))))
    assert [(row["ingest.line"], row["_file"], row["CID"]) for row in rows] == [
        ("part 1 line 3", "Split_1_1.csv", "s2"), ("part 2 line 3", "Split_1_2.csv", "s4"),
    ]  # fmt: skip
    export.write_text(export.read_text(encoding="utf-8").replace("s4,y", "s4,4"), encoding="utf-8")
    replayed = starter.ingest("rejects", "replay", "split", export, "--json")
    assert replayed.json[0]["resolved"] == 1
    open_rejects = starter.ingest("rejects", "list", "split", "--load", replayed.json[0]["load"] - 1, "--json").json
    assert [(each["part"], each["resolved_at"] is None) for each in open_rejects] == [(1, True), (2, False)]
