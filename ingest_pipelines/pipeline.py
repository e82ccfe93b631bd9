"""THE STORY: an item is landed, its rows are judged, the accepted ones are merged.

    Item -> land -> Landing -> validate -> Validated -> load -> LoadReport

A cursor's item is a drain of several chunks: each goes that way by itself, until one is empty. Dagster's ops, its IO
manager and `ingest plan` call these functions. Each can be repeated at any time: only `load` changes the target, in
one transaction, and it asks the ledger first.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.cursor_values import before, cursor_text, not_after, parse_cursor
from ingest_pipelines.errors import CursorStuck, IngestError, RejectsAboveLimit
from ingest_pipelines.landing import (
    Chunk,
    cursor_cap,
    land_file,
    land_query,
    largest_value,
    read_arrow,
    read_csv,
)
from ingest_pipelines.merge import Target, apply, record_failure
from ingest_pipelines.merge.ahead import Destination, LoadAhead
from ingest_pipelines.model import Item, Landing, LoadReport, Run, Validated
from ingest_pipelines.rules import Ahead, compile_rules, judge
from ingest_pipelines.sources import open_item, open_query
from ingest_pipelines.sources.base import Client, QuerySource
from ingest_pipelines.sources.request import Request, cursor_after, cursor_start, cursor_value, request_of

LARGE = 16 << 20
"""Bytes from which on an item is loaded while it is judged; a smaller one is loaded in no time."""

_ahead: dict[tuple[Path, ...], LoadAhead] = {}
"""Loads under way in this process, by the runs that `validate` handed out. A load elsewhere begins anew."""

BY_QUERY = {"query", "cursor", "window"}
"""Kinds of items whose rows a query brings; the others are files."""


@dataclass(frozen=True)
class Workspace:
    """Local folders of one run: `spool` for landed bytes, `spill` for judged rows."""

    spool: Path
    spill: Path


def land(
    item: Item, bound: BoundImport, workspace: Workspace, now: datetime | None = None, *, client: Client | None = None
) -> Landing:
    """The item's bytes on local disk, hashed, proven unchanged while they were read; a query's rows likewise.

    Args:
        now: what a cursor must not overtake; the time of the call if it is not given.
        client: makes the source's client; the source itself if it is not given.

    Raises:
        SourceUnavailable, ItemChanged (retryable), SourceDenied, ItemGone, ItemRefused, CursorStuck, ConfigError.
    """
    if item.kind in BY_QUERY:
        return _land_rows(item, bound, workspace, now or datetime.now(UTC), client)
    with open_item(item, bound.connection, client) as source:
        return land_file(item, source, workspace.spool, bound.spec.source.limits)


def _land_rows(item: Item, bound: BoundImport, workspace: Workspace, now: datetime, client: Client | None) -> Landing:
    with open_query(bound.connection, client) as source:
        asked = request_of(item, bound, source)
        if bound.spec.source.cursor is None:
            return _land_request(item, bound, workspace, source, asked)
        return _land_chunk(item, bound, workspace, now, source, asked)


def _land_chunk(
    item: Item, bound: BoundImport, workspace: Workspace, now: datetime, source: QuerySource, asked: Request
) -> Landing:
    """The rows of a drain's next chunk, up to where nothing of it can be missing."""
    cursor, drain, where = bound.spec.source.cursor, bound.spec.source.drain, f"import {bound.name}, item {item.key}"
    assert cursor is not None
    start, committed = cursor_start(bound), cursor_value(item.cursor_committed, bound)
    chunk = Chunk(
        cursor.column, cursor.kind, cursor_after(item, bound), asked.limit, now, ZoneInfo(bound.spec.timezone),
        committed=committed, alone=not drain,
        comes_after=lambda text, other: source.comes_after(asked.query, cursor.column, text, other),
    )  # fmt: skip
    if cursor.lag and item.cursor_cap is None:
        largest = largest_value(source.largest(asked.query, cursor.column, start), chunk, where)
        if largest is not None and committed is not None and not not_after(committed, largest):
            raise _went_back(where, bound)
        item = replace(item, cursor_cap=cursor_text(start if largest is None else cursor_cap(largest, chunk)))
    chunk = replace(chunk, cap=cursor_value(item.cursor_cap, bound))
    landing = _land_request(item, bound, workspace, source, asked, chunk)
    if landing.cut or (drain and landing.cursor_to is not None):
        return landing
    # Nothing follows: what no chunk of this query will ever show is looked for.
    if not landing.rows and committed is not None and source.behind(asked.query, cursor.column, start, committed):
        raise _went_back(where, bound)
    if source.lacks_values(asked.query, cursor.column):
        raise CursorStuck(
            f"{where}: there are rows without a value in '{cursor.column}', which the query never reads",
            hint=f"give them a value, or leave them out on purpose: AND {cursor.column} IS NOT NULL",
        )
    return landing


def _went_back(where: str, bound: BoundImport) -> CursorStuck:
    """The source no longer has what the cursor has passed: new rows may get the same values again."""
    assert bound.spec.source.cursor is not None
    return CursorStuck(
        f"{where}: every '{bound.spec.source.cursor.column}' in the source lies before the cursor: "
        "was it restored from a backup?",
        hint="nothing was loaded; if the source is right, go on from the largest value that the backup had: "
        f"ingest cursor set {bound.name} VALUE",
    )


def _land_request(
    item: Item,
    bound: BoundImport,
    workspace: Workspace,
    source: QuerySource,
    asked: Request,
    chunk: Chunk | None = None,
) -> Landing:
    with closing(source.batches(asked.query, asked.parameters)) as batches:
        return land_query(item, batches, bound.required_columns, workspace.spool, bound.spec.source.limits, chunk)


def validate(
    landing: Landing, bound: BoundImport, workspace: Workspace, destination: Destination | None = None
) -> Validated:
    """Every row judged: accepted rows sorted and cast on disk, rejects with every rule they break.

    Args:
        destination: where this process will load the item. A large one's rows are merged there while others are still
            judged, in the transaction that `load` will close or roll back.

    Raises:
        ItemRefused: the item as a whole cannot be read.
        InternalError: an accepted row breaks the import's own schema.
    """
    if landing.settled_by is not None:
        return Validated(landing, accepted=(), rejects=None, read=0, accepted_rows=0, rejected_rows=0)
    if landing.format == "arrow":
        header, frames = read_arrow(landing, bound.required_columns)
    else:
        header, frames = read_csv(landing, bound.required_columns, bound.spec.source.limits)
    rules = compile_rules(bound)
    if destination is None or landing.bytes < LARGE or rules.places is not None:
        return judge(landing, header, frames, rules, workspace.spill)
    _discard_ahead(bound.name)
    loading = LoadAhead(landing, bound, destination)
    ahead = Ahead(frames.read_only(rules.compared_columns), loading.add)
    try:
        validated = judge(landing, header, frames, rules, workspace.spill, ahead)
    except BaseException:
        loading.discard()
        raise
    _ahead[validated.accepted] = loading
    return validated


def _discard_ahead(import_name: str) -> None:
    """No load of an earlier attempt keeps its locks."""
    for runs in [runs for runs, loading in _ahead.items() if loading.import_name == import_name]:
        _ahead.pop(runs).discard()


def check_rejects(validated: Validated, bound: BoundImport) -> None:
    """The item's rejects are within the import's limit.

    Raises:
        RejectsAboveLimit: nothing is to be merged. `load` would say the same, later.
    """
    if not bound.spec.rejects.allows(validated.rejected_rows, validated.read):
        _discard_ahead(bound.name)
        raise RejectsAboveLimit(
            f"{validated.rejected_rows:,} of {validated.read:,} rows were rejected, and the import allows "
            f"{bound.spec.rejects}",
            hint=f"nothing was merged; see them with: ingest rejects list {bound.name}",
        )


def load(validated: Validated, bound: BoundImport, target: Target, run: Run, now: datetime) -> LoadReport:
    """The accepted rows merged, with rejects, load record, cursor and events, in one transaction.

    Raises:
        TargetUnavailable, TargetBusy (retryable); LoadError and its kinds: nothing was committed.
    """
    return apply(validated, bound, target, run, now, ahead=_ahead.pop(validated.accepted, None))


def next_chunk(item: Item, bound: BoundImport, target: Target, run: Run) -> Item:
    """The drain's next chunk, as the ledger has it: after this run's last one, or the committed cursor less the lag."""
    cursor = bound.spec.source.cursor
    assert cursor is not None
    with target.session() as connection:
        state = ledger.find_cursor(connection, bound.name)
        done = [
            load.cursor_to
            for load in ledger.loads_of_run(connection, run.id)
            if load.item == item.key and load.status == "committed" and load.cursor_to is not None
        ]
    committed = state.value if state else None
    start, cap = committed, item.cursor_cap
    if done:
        start = done[-1]
        cap = cap or (committed if cursor.lag else None)  # a run that broke off does not know its own any more
    elif committed is not None:
        start = cursor_text(before(parse_cursor(committed, cursor.kind), cursor.lag_amount))
    return replace(item, cursor_from=start, cursor_committed=committed, cursor_cap=cap)


def drain(
    item: Item,
    bound: BoundImport,
    workspace: Workspace,
    target: Target,
    run: Run,
    now: datetime,
    *,
    started: bool = False,
    client: Client | None = None,
) -> Generator[LoadReport, None, None]:
    """Every chunk of a cursor's item landed, judged and merged in a transaction of its own, until one is empty.

    Goes on from what is committed, so called again after a crash it does the rest. An empty first chunk is loaded too,
    so that the ledger shows that somebody looked. With `drain: false`, and in a dry run, there is one chunk.

    Args:
        item: the drain's item; where its first chunk was loaded step by step, that chunk's: `landing.item`.
        started: the first chunk was loaded step by step: next_chunk, land, validate, load. Only the rest is done here.
        client: as in `land`.

    Raises:
        What land, validate, check_rejects and load raise, `reached` set; the chunks before are committed.
    """
    _discard_ahead(bound.name)
    if started and (run.dry_run or not bound.spec.source.drain):
        return
    while True:
        reached: Item | Landing | Validated = item
        try:
            reached = chunk = next_chunk(item, bound, target, run)
            with target.session() as connection:
                known = ledger.find_load(connection, chunk, run.id)
            if known is not None and known.status == "committed":
                # This run has been here and found nothing beyond. Rows that came since are for the next run: under
                # the same run key they would be taken for loaded.
                if not started:
                    yield known.report
                return
            reached = landing = land(chunk, bound, workspace, now, client=client)
            item = replace(item, cursor_cap=landing.item.cursor_cap)
            if not landing.rows and started:
                landing.path.unlink(missing_ok=True)
                return
            reached = validated = validate(landing, bound, workspace)
            check_rejects(validated, bound)
            yield load(validated, bound, target, run, now)
        except IngestError as error:
            error.reached = reached
            raise
        _forget(validated)
        if landing.cursor_to is None or not bound.spec.source.drain or run.dry_run:
            return
        started = True


def _forget(validated: Validated) -> None:
    """The files of a chunk that is loaded are gone; a drain's disk does not grow with its chunks."""
    for path in (validated.landing.path, *validated.accepted, *((validated.rejects,) if validated.rejects else ())):
        path.unlink(missing_ok=True)


__all__ = [
    "Destination",
    "Workspace",
    "check_rejects",
    "drain",
    "land",
    "load",
    "next_chunk",
    "record_failure",
    "validate",
]
