"""The first rows of a sample as a new import would load them, and those that it would reject."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest_pipelines.cli import screen
from ingest_pipelines.errors import printable

if TYPE_CHECKING:
    from ingest_pipelines.config import BoundImport
    from ingest_pipelines.detection import Reading

SHOWN = 3
"""Rows whose values are shown."""

NAMED = 5
"""Broken rules that are named."""


def print_as_read(bound: BoundImport, reading: Reading) -> None:
    """Prints the values of the first rows, cast and validated by the import's own rules."""
    import polars as pl

    from ingest_pipelines.detection.columns import shown
    from ingest_pipelines.model import LINE
    from ingest_pipelines.rules.compile import BAD, compile_rules

    lines = pl.Series(LINE, range(1, len(reading.frame) + 1), dtype=pl.Int64)
    frame = reading.frame.clone().insert_column(0, lines)
    rules = compile_rules(bound)
    rows = rules.validated(frame)
    good = rows.filter(~pl.col(BAD)).head(SHOWN)
    screen.say()
    screen.say(
        f"the first {screen.plural(len(good), 'row')} as the import reads them" if len(good) != 1 else "the first row"
    )
    table = [
        (
            mapped.name,
            mapped.field.type_name,
            " | ".join("-" if value is None else printable(shown(value), 30) for value in good[mapped.name]),
        )
        for mapped in bound.fields
    ]
    for line in screen.columns(("field", "type", "values"), table):
        screen.say(line)
    rejected = int(rows[BAD].sum())
    if not rejected:
        return
    _, masks = rules.explained(frame)
    counts = [
        (int(mask.sum()), screen.why(rule.field, rule.reason)) for rule, mask in zip(rules.rules, masks, strict=True)
    ]
    screen.say(
        f"  {screen.painted('note', 'warn')}: {rejected:,} of {len(rows):,} rows of the sample would be rejected"
    )
    for count, reason in sorted((each for each in counts if each[0]), reverse=True)[:NAMED]:
        screen.say(f"    {count:,}: {screen.wrapped(reason, 8)}")
