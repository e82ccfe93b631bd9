"""A cursor's drain: chunk after chunk, each in a transaction of its own, until one is empty."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import datetime

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.cursor import bounds
from ingest_pipelines.errors import IngestError
from ingest_pipelines.merge import Target, earlier_time
from ingest_pipelines.model import Item, Landing, LoadReport, Run, Validated, Workspace
from ingest_pipelines.pipeline.steps import check_rejects, forget_files, land, load, validate
from ingest_pipelines.sources.base import Client


def next_chunk(item: Item, bound: BoundImport, target: Target, run: Run) -> Item:
    """The drain's next chunk, by what the ledger has: see `bounds.next_chunk`."""
    cursor = bound.spec.source.cursor
    assert cursor is not None
    with target.session() as connection:
        state = ledger.find_cursor(connection, bound.name)
        reached = [
            load.cursor_to
            for load in ledger.loads_of_run(connection, run.id)
            if load.item == item.key and load.status == "committed" and load.cursor_to is not None
        ]
    return bounds.next_chunk(item, cursor, state.value if state else None, reached)


def is_overtaken(first: Validated, item: Item, bound: BoundImport, target: Target, run: Run) -> bool:
    """Whether the drain's first chunk, landed and validated step by step, has been committed by now."""
    return next_chunk(item, bound, target, run).cursor_from != first.landing.item.cursor_from


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
    confirm: Callable[[], None] = lambda: None,
) -> Generator[LoadReport, None, None]:
    """Every chunk of a cursor's item landed, validated and merged in a transaction of its own, until one is empty.

    It starts after the last committed chunk, so calling it again after a crash does the rest. An empty first chunk is
    loaded too: the ledger then shows that the source was read. With `drain: false`, and in a dry run, there is one
    chunk.

    Args:
        item: the drain's item; where its first chunk was loaded step by step, that chunk's: `landing.item`.
        now: the time by this machine's clock; a cursor goes by the target's where that is earlier.
        started: the first chunk is loaded already, step by step: only the chunks after it are loaded here.
        client: as in `land`.
        confirm: as in `load`.

    Raises:
        What land, validate, check_rejects and load raise, `reached` set; the chunks before are committed.
    """
    if started and (run.dry_run or not bound.spec.source.drain):
        return
    read_at = earlier_time(target, item, now)
    while True:
        reached: Item | Landing | Validated = item
        try:
            reached = chunk = next_chunk(item, bound, target, run)
            with target.session() as connection:
                known = ledger.find_load(connection, chunk, run.id)
                suppressed = ledger.find_suppressed(connection, bound.database.qualified_table)
            if known is not None and known.status == "committed":
                # This run has read this chunk and found nothing new. Rows that came since are for the next run: under
                # the same run key they would count as loaded.
                if not started:
                    yield known.report
                return
            reached = landing = land(chunk, bound, workspace, read_at, client=client)
            item = replace(item, cursor_upper_bound=landing.item.cursor_upper_bound)
            if not landing.rows and started:
                landing.path.unlink(missing_ok=True)
                return
            reached = validated = validate(landing, bound, workspace, suppressed=suppressed)
            check_rejects(validated, bound)
            yield load(validated, bound, target, run, now, confirm=confirm, workspace=workspace)
        except IngestError as error:
            error.reached = error.reached or reached
            raise
        _forget(validated)
        if landing.cursor_to is None or not bound.spec.source.drain or run.dry_run:
            return
        started = True


def _forget(validated: Validated) -> None:
    """Deletes a loaded chunk's files, so that a drain needs the disk of one chunk."""
    validated.landing.path.unlink(missing_ok=True)
    forget_files(validated)
