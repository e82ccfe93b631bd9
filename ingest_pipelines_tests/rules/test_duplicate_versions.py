"""Of rows of one key the newest by `version` is kept; the model compares versions in plain Python."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_pipelines_tests.rules.feeds import accepted, bound_import, frame, validate

TEXTS = ["", "9", "10", "-2", "-10", "0", "2.5", "2.50", "02", "1" + "0" * 30, "2026-01-02", "2026-01-10", "v9", "é"]

KINDS: Mapping[str, tuple[Mapping[str, Any], Mapping[str, str], Sequence[str]]] = {
    "no field": ({}, {}, TEXTS),
    "string": ({"rev": {"type": "string"}}, {"Rev": "rev"}, TEXTS),
    "int": ({"rev": {"type": "int"}}, {"Rev": "rev"}, ["", "9", "10", "-3"]),
    "decimal": ({"rev": {"type": "decimal(12,2)"}}, {"Rev": "rev"}, ["", "9.5", "10", "-3.25"]),
    "date": ({"rev": {"type": "date", "format": "%d/%m/%Y"}}, {"Rev": "rev"}, ["", "09/10/2026", "10/01/2026"]),
}
"""By where the version goes: fields, their columns, and cells."""


def order(kind: str, cells: Sequence[str]) -> list[Any]:
    """What the cells of a group sort by; a row without a version comes before all others."""
    if kind == "date":
        return [date(*map(int, reversed(cell.split("/")))) if cell else date.min for cell in cells]
    given = [cell for cell in cells if cell]
    if all(re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", cell) for cell in given):
        return [Decimal(cell) if cell else Decimal("-Infinity") for cell in cells]
    return [cell.encode() for cell in cells]


def kept_lines(kind: str, duplicates: str, rows: Sequence[tuple[str, str, bool]]) -> list[int]:
    """The lines that are accepted."""
    lines = []
    for key in {key for key, _, _ in rows}:
        good = [(line, cell) for line, (name, cell, bad) in enumerate(rows, 2) if name == key and not bad]
        ranked = list(zip(order(kind, [cell for _, cell in good]), good, strict=True))
        newest = [line for rank, (line, _) in ranked if rank == max(rank for rank, _ in ranked)]
        lines += [newest[-1 if duplicates == "last" else 0]] if newest else []
    return sorted(lines)


@settings(max_examples=80)
@given(kind=st.sampled_from(list(KINDS)), duplicates=st.sampled_from(["last", "first"]), data=st.data())
def test_the_newest_version_is_kept_and_the_line_decides_between_equal_ones(
    kind: str, duplicates: str, data: st.DataObject
) -> None:
    fields, columns, cells = KINDS[kind]
    row = st.tuples(st.sampled_from("ab"), st.sampled_from(cells), st.sampled_from([False, False, False, True]))
    rows = data.draw(st.lists(row, min_size=2, max_size=7))
    cut = data.draw(st.integers(0, len(rows)))
    bound = bound_import(
        {"points": {"type": "int"}, **fields}, columns={"id": "id", "points": "points", **columns}, version="Rev",
        duplicates=duplicates, rejects={"unlimited": True},
    )  # fmt: skip
    frames = [
        frame(
            {
                "id": [key for key, _, _ in part], "points": ["x" if bad else "1" for _, _, bad in part],
                "Rev": [cell for _, cell, _ in part],
            },
            first_line=first,
        )
        for part, first in ((rows[:cut], 2), (rows[cut:], 2 + cut))
        if part
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        validated = validate(bound, Path(folder), *frames)
        assert accepted(validated)["_line"].to_list() == kept_lines(kind, duplicates, rows)
        bad = sum(bad for _, _, bad in rows)
        assert validated.superseded_rows == len(rows) - bad - validated.accepted_rows
