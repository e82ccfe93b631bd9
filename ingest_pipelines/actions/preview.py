"""The first rows of a sample as a new import would load them, and those that it would reject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest_pipelines.actions.wording import why

if TYPE_CHECKING:
    from ingest_pipelines.config import BoundImport
    from ingest_pipelines.detection import Reading


@dataclass(frozen=True)
class AsRead:
    """A sample, cast and validated by the import's own rules.

    Attributes:
        fields: per field its name, its type and the values of the first accepted rows as text; "-": empty.
        shown: how many rows those are.
        reasons: how many rows break each rule, its words, and the first of these rows' lines; the most frequent first.
    """

    fields: Sequence[tuple[str, str, tuple[str, ...]]]
    shown: int
    rows: int
    rejected: int
    reasons: Sequence[tuple[int, str]]


LINES_NAMED = 3
"""Lines that are named of the rows that break a rule."""


def as_read(bound: BoundImport, reading: Reading, rows_shown: int) -> AsRead:
    """The sample as the import reads it."""
    import polars as pl

    from ingest_pipelines.detection.columns import shown
    from ingest_pipelines.model import LINE
    from ingest_pipelines.rules.compile import BAD, compile_rules

    lines = pl.Series(LINE, reading.lines or range(1, len(reading.frame) + 1), dtype=pl.Int64)
    frame = reading.frame.clone().insert_column(0, lines)
    rules = compile_rules(bound)
    rows = rules.validated(frame)
    good = rows.filter(~pl.col(BAD)).head(rows_shown)
    fields = [
        (
            mapped.name,
            mapped.field.type_name,
            tuple("-" if value is None else shown(value) for value in good[mapped.name]),
        )
        for mapped in bound.fields
    ]
    rejected = int(rows[BAD].sum())
    reasons: list[tuple[int, str]] = []
    if rejected:
        numbered, masks = rules.explained(frame)
        counts = [
            (int(mask.sum()), f"{why(rule.field, rule.reason)} ({_named(numbered[LINE].filter(mask).to_list())})")
            for rule, mask in zip(rules.rules, masks, strict=True)
            if mask.any()
        ]
        reasons = sorted(counts, reverse=True)
    return AsRead(fields, len(good), len(rows), rejected, reasons)


def _named(lines: Sequence[int]) -> str:
    """`line 5`, `lines 5, 9, 12 and 3 more`."""
    named = ", ".join(map(str, lines[:LINES_NAMED]))
    more = f" and {len(lines) - LINES_NAMED:,} more" if len(lines) > LINES_NAMED else ""
    return f"line{'s' if len(lines) > 1 else ''} {named}{more}"
