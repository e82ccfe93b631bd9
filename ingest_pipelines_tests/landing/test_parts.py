"""Rows in several files are the rows of one: the same values, rejects and duplicates, on the lines of their parts."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemRefused
from ingest_pipelines.landing import ListedPart, land_file, land_parts
from ingest_pipelines.model import LINE, Item, ItemKey, Landing, Validated, Workspace, part_and_line
from ingest_pipelines.pipeline import land, validate
from ingest_pipelines.sources import open_upload, upload_item
from ingest_pipelines_tests.rules.feeds import accepted, bound_import, rejects

ROWS = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["1", "x", "", "7"])), max_size=24
)  # fmt: skip
PATTERN = r"C_(?P<part>\d+)\.\w+"


def written(rows: list[tuple[str, str]], format: dict[str, Any], *, flipped: bool) -> bytes:
    if format.get("type") == "jsonl":
        return "".join(f'{{"id": "{key}", "f": "{value}"}}\n' for key, value in rows).encode()
    sign = format.get("delimiter", ",")
    lines = [("id", "f"), *rows]
    return "".join(sign.join(row[::-1] if flipped else row) + "\n" for row in lines).encode(
        format.get("encoding", "utf-8")
    )


def loaded(folder: Path, contents: dict[str, bytes], format: dict[str, Any], **spec: Any) -> Validated:
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    parts = (
        {"parts": {"pattern": PATTERN, "count": len(contents)}} if len(contents) > 1 or "C_1" in min(contents) else {}
    )
    bound = bound_import(
        {"f": {"type": "int"}}, source={"connection": "uploads", "format": format, **parts},
        rejects={"unlimited": True}, **spec,
    )  # fmt: skip
    workspace = Workspace(folder / "spool", folder / "spill")
    item = upload_item("feed", folder / min(contents), bound.spec.source.parts)
    return validate(land(item, bound, workspace), bound, workspace)


@given(
    rows=ROWS,
    cuts=st.lists(st.integers(0, 24), min_size=1, max_size=3),
    format=st.sampled_from([{}, {"delimiter": ";", "encoding": "utf-16"}, {"type": "jsonl"}]),
    duplicates=st.sampled_from(["reject", "last", "first"]),
)
@settings(max_examples=25)
def test_rows_in_parts_are_those_of_one_file(
    rows: list[tuple[str, str]], cuts: list[int], format: dict[str, Any], duplicates: str
) -> None:
    if format.get("type") == "jsonl" and not rows:
        return
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    pieces = [rows[start:end] for start, end in pairwise(edges)]
    if format.get("type") == "jsonl":
        pieces = [piece for piece in pieces if piece]
    ending = format.get("type", "csv")
    with tempfile.TemporaryDirectory() as folder:
        one = loaded(
            Path(folder) / "one", {f"C.{ending}": written(rows, format, flipped=False)}, format, duplicates=duplicates
        )
        contents = {
            f"C_{number}.{ending}": written(piece, format, flipped=number % 2 == 0)
            for number, piece in enumerate(pieces, 1)
        }
        many = loaded(Path(folder) / "many", contents, format, duplicates=duplicates)
        header = 0 if ending == "jsonl" else 1
        places = [
            (number, line + header) for number, piece in enumerate(pieces, 1) for line in range(1, len(piece) + 1)
        ]

        def place(line: int) -> tuple[int, int]:
            part, own = part_and_line(line)
            return (part, own) if part is not None else places[line - 1 - header]

        assert (one.read, one.rejected_rows, one.superseded_rows) == (
            many.read,
            many.rejected_rows,
            many.superseded_rows,
        )
        assert [(place(r.pop("line")), r) for r in rejects(one)] == [(place(r.pop("line")), r) for r in rejects(many)]
        assert _values(accepted(one), place) == _values(accepted(many), place)


def _values(frame: pl.DataFrame, place: Any) -> list[Any]:
    return sorted((place(row[LINE]), row["id"], row["f"]) for row in frame.to_dicts()) if len(frame) else []


def test_the_parts_together_are_within_the_limit_of_an_item(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"C_{number}.csv").write_text("id\n" + "1\n" * 40, encoding="utf-8")
    with open_upload(tmp_path / "C_1.csv", with_folder=True) as source:
        paths = [str(tmp_path / f"C_{number}.csv") for number in (1, 2)]
        items = [Item("feed", ItemKey("k"), "upload", source.uri(path), path=path) for path in paths]

        def land_part(part: Item, limits: Limits) -> Landing:
            return land_file(part, source, tmp_path / "spool", limits)

        parts = [ListedPart(number, item) for number, item in enumerate(items, 1)]
        assert land_parts(items[0], parts, (), Limits(max_bytes=166), land_part).bytes == 166
        for limit in (165, 83, 82):
            with pytest.raises(ItemRefused, match="larger than"):
                land_parts(items[0], parts, (), Limits(max_bytes=limit), land_part)
        wrong = [parts[0], replace(parts[1], sha256="0" * 64)]
        with pytest.raises(ItemRefused, match=r"C_2\.csv: its SHA-256 is not"):
            land_parts(items[0], wrong, (), Limits(), land_part)
