"""Files that are called like parts of one item, and what beside them proves that all are there."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ingest_pipelines.config.file_parts import Parts
from ingest_pipelines.detection import detect_parts
from ingest_pipelines.model import SourceFile
from ingest_pipelines.sources.base import Listing
from ingest_pipelines.sources.parts import file_sets

AT = datetime(2026, 11, 29, tzinfo=UTC)
UUID = "0a1b2c3d-0000-4000-8000-0123456789ab"
CASES: dict[str, tuple[list[str], dict[str, str], str, int | None]] = {
    "numbers with a manifest": (
        ["Points_7_part1.csv.gz", "Points_7_part2.csv.gz", "Points_7.manifest", "Points_6.manifest"],
        {"pattern": r"Points_(?P<serial>[0-9]+)_part(?P<part>[0-9]+)\.csv\.gz", "manifest": "Points_{serial}.manifest"},
        "Points", None,
    ),
    "numbers with a marker of a day": (
        ["C-part1_2026-11-29.csv", "C-part2_2026-11-29.csv", "2026-11-29.done", "C-part1_2026-11-28.csv"],
        {"pattern": r"C-part(?P<part>[0-9]+)_(?P<serial>[0-9]+-[0-9]+-[0-9]+)\.csv", "done": "{serial}.done"},
        "C", None,
    ),
    "a number of parts": (
        ["C_20261129_1of2.csv", "C_20261129_2of2.csv"],
        {"pattern": r"C_(?P<serial>[0-9]+)_(?P<part>[0-9]+)of(?P<of>[0-9]+)\.csv"}, "C", None,
    ),
    "what Spark writes": (
        [f"part-00000-{UUID}-c000.csv", f"part-00001-{UUID}-c000.csv", "_SUCCESS"],
        {"pattern": r"part-(?P<part>[0-9]+)-[0-9a-f-]{36}-c[0-9]+\.csv", "done": "_SUCCESS"}, "parts", None,
    ),
    "numbers alone": (["C_p1.csv", "C_p2.csv", "C_p3.csv"], {"pattern": r"C_p(?P<part>[0-9]+)\.csv"}, "C", 3),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_parts_of_an_item_are_known_with_their_proof(case: str) -> None:
    names, keys, file, count = CASES[case]
    found = detect_parts(names[0], names)
    assert found is not None
    assert (found.keys, found.file, found.count) == (keys, file, count)
    parts = Parts.model_validate({**keys, **({} if count is None else {"count": count})})
    listing = Listing(tuple(SourceFile(name, 1, AT) for name in names))
    members = [name for name in names if name.startswith(names[0][:3]) and ".manifest" not in name]
    delivery = next(each for each in file_sets(listing, "", parts) if names[0] in [part.path for part in each.parts])
    assert delivery.waits == ""
    assert len(delivery.parts) == len([name for name in members if "28" not in name])


@pytest.mark.parametrize(
    "names",
    [["Points_1.csv", "Points_2.csv"], ["Points_part1.csv"], ["Points_1_part1.csv", "Points_2_part1.csv"],
     ["Apart1.csv", "Apart2.csv"], ["Report 1.csv", "Report 2.csv"]],
)  # fmt: skip
def test_a_file_by_itself_is_no_part(names: list[str]) -> None:
    assert detect_parts(names[0], names) is None
