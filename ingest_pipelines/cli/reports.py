"""`ingest report`: the loads of one import."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import ImportName, Json
from ingest_pipelines.model import COUNTS, item_name

if TYPE_CHECKING:
    from ingest_pipelines.ledger import Load


def report(
    name: ImportName,
    last: Annotated[int, typer.Option("--last", min=1, max=1000, help="At most this many loads.")] = 10,
    json: Json = False,
) -> None:
    """List an import's loads, newest first; also of one that the project no longer has."""
    from ingest_pipelines import ledger
    from ingest_pipelines.actions.target import ledger_of, require_known
    from ingest_pipelines.config import read_settings

    settings = read_settings()
    require_known(settings, name)
    with ledger_of(settings) as connection:
        loads = ledger.recent_loads(connection, name, last)
    if json:
        screen.as_json([load_json(load) for load in loads])
        return
    if not loads:
        screen.say(f"{name}: no load yet\n  ingest run {name}")
        return
    screen.say(f"{screen.painted(name, 'strong')}: {screen.plural(len(loads), 'load')}, newest first")
    screen.say()
    for row in count_table(loads):
        screen.say(row)


def load_json(load: Load) -> dict[str, Any]:
    """A load as JSON, under the ledger's column names."""
    columns = asdict(load)
    started, finished = load.started_at, load.finished_at
    first = {"load": columns.pop("id"), "import": columns.pop("import_name"), "item": columns.pop("item")}
    return {
        **first,
        "status": columns.pop("status"),
        **{name: columns.pop(name) for name in COUNTS},
        **columns,
        "duration_seconds": round((finished - started).total_seconds(), 3) if finished else None,
    }


def count_table(loads: Iterable[Load]) -> list[str]:
    """Lines per load: its counts; its item, time and duration; what `--item` takes, where that is another name."""
    shown = list(loads)
    widths = {name: max(len(name), *(len(screen.number(getattr(load, name))) for load in shown)) for name in COUNTS}
    head = max(4, *(len(str(load.id)) for load in shown))
    fits = 2 + head + sum(2 + size for size in widths.values()) <= screen.width()
    if not fits:
        head = 0
    header = f"  {'load':>{head}}  " + "  ".join(name.rjust(size) for name, size in widths.items())
    lines = [screen.painted(header, "dim")] if fits else []
    for load in shown:
        counts = [screen.number(getattr(load, name)) for name in COUNTS]
        if fits:
            aligned = "  ".join(count.rjust(size) for count, size in zip(counts, widths.values(), strict=True))
            lines.append(f"  {load.id:>{head}}  {aligned}")
        else:
            lines += screen.stacked(("load", *COUNTS), [(str(load.id), *counts)])
        facts = (screen.painted(load.status, screen.STATUS_STYLES.get(load.status)), *load_facts(load))
        lines.append(f"  {'':{head}}  {' · '.join(facts)}")
        if item_name(load.item) != load.item:
            lines.append(f"  {'':{head}}  {screen.wrapped(f'--item {load.item}', head + 4)}")
        if load.kept or load.healed:
            lines.append(
                f"  {'':{head}}  {screen.number(load.kept)} unmatched wait, {screen.number(load.healed)} healed"
            )
        if words := cleaned_words(load.cleaned):
            lines.append(f"  {'':{head}}  {screen.wrapped(f'cleaned cells: {words}', head + 4)}")
        lines += [f"  {'':{head}}  {line}" for line in (*load.error.splitlines(), *load.warnings)]
    return lines


def cleaned_words(cleaned: Mapping[str, Mapping[str, int]]) -> str:
    """`name: trim 3, cut 1; tier: map 12`: the cells that were changed; "" if none was."""
    fields = {
        name: ", ".join(f"{word} {screen.number(cells)}" for word, cells in words.items() if cells)
        for name, words in cleaned.items()
    }
    return "; ".join(f"{name}: {words}" for name, words in fields.items() if words)


def load_facts(load: Load) -> tuple[str, ...]:
    """The item's file, start time, duration, and whether a person forced the load."""
    seconds = f"{(load.finished_at - load.started_at).total_seconds():.1f} s" if load.finished_at else "still running"
    return (item_name(load.item), screen.moment(load.started_at), seconds, *(("forced",) if load.forced else ()))
