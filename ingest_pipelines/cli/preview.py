"""Prints the first rows of a sample as a new import would load them, and why it would reject others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest_pipelines.actions.preview import as_read
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
    sample = as_read(bound, reading, SHOWN)
    screen.say()
    screen.say(
        f"the first {screen.plural(sample.shown, 'row')} as the import reads them"
        if sample.shown != 1
        else "the first row"
    )
    table = [
        (name, kind, " | ".join(value if value == "-" else printable(value, 30) for value in values))
        for name, kind, values in sample.fields
    ]
    for line in screen.columns(("field", "type", "values"), table):
        screen.say(line)
    if not sample.rejected:
        return
    note = screen.painted("note", "warn")
    screen.say(f"  {note}: {sample.rejected:,} of {sample.rows:,} rows of the sample would be rejected")
    for count, reason in sample.reasons[:NAMED]:
        screen.say(f"    {count:,}: {screen.wrapped(reason, 8)}")
