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
        reasons: how many rows break each rule, and its words; the most frequent first.
    """

    fields: Sequence[tuple[str, str, tuple[str, ...]]]
    shown: int
    rows: int
    rejected: int
    reasons: Sequence[tuple[int, str]]


def as_read(bound: BoundImport, reading: Reading, rows_shown: int) -> AsRead:
    """The sample as the import reads it."""
    import polars as pl

    from ingest_pipelines.detection.columns import shown
    from ingest_pipelines.model import LINE
    from ingest_pipelines.rules.compile import BAD, compile_rules

    lines = pl.Series(LINE, range(1, len(reading.frame) + 1), dtype=pl.Int64)
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
        _, masks = rules.explained(frame)
        counts = [
            (int(mask.sum()), why(rule.field, rule.reason)) for rule, mask in zip(rules.rules, masks, strict=True)
        ]
        reasons = sorted((each for each in counts if each[0]), reverse=True)
    return AsRead(fields, len(good), len(rows), rejected, reasons)
