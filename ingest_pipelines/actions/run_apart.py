"""A run in a process of its own (`apart`): it reports its stages, can be cancelled, and ends with its parent.

Its answer is `{"loads": [...], "counts": {...}, "error": ..., "hint": ...}`; the counts are sums over its loads.
What is not committed when it ends changes nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ingest_pipelines.actions.apart import asked, report
from ingest_pipelines.errors import IngestError, UsageError
from ingest_pipelines.model import COUNTS

if TYPE_CHECKING:
    from ingest_pipelines.config import BoundImport, Settings
    from ingest_pipelines.ledger import Load


ROWS_SECONDS = 0.5
"""Between two reports of how many rows have been validated."""


@dataclass(frozen=True)
class WantedRun:
    """What a person asks for.

    Attributes:
        item: its key; None: the newest file, or what is due.
        failed: all items that failed, in order.
        forced: the item is loaded even if it is older, much smaller or unchanged.
        load, corrections: instead of an item, rejected rows of that load to load again: line -> column -> cell, of the
            cells that a person corrected.
        by: who asks, for the ledger.
    """

    import_name: str
    by: str
    item: str | None = None
    failed: bool = False
    forced: bool = False
    load: int | None = None
    corrections: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def main() -> None:
    """Runs what it is asked."""
    report(_outcome(WantedRun(**asked())))


def _outcome(request: WantedRun) -> dict[str, Any]:
    from ingest_pipelines import ledger
    from ingest_pipelines.actions.launcher import launching
    from ingest_pipelines.config import read_project, read_settings

    loads: list[Load] = []
    error: IngestError | None = None
    try:
        settings = read_settings()
        project = read_project(settings.home)
        project.require(request.import_name)
        launch_here = partial(launching, settings, project, request.by, _show)
        if request.load is not None:
            return _replay(request, settings, project.require(request.import_name), launch_here)
        with launch_here() as launch:
            items = launch.failed_items(request.import_name) if request.failed else [request.item]
            if not items:
                raise UsageError(f"import {request.import_name}: no item has failed; nothing to run again")
            for item in items:
                result = launch(
                    request.import_name, item_key=item, forced=request.forced, on_stage=_show, on_rows=_show_rows()
                )
                error = error or result.error
                with launch.site.target.session() as connection:
                    loads += ledger.loads_of_run(connection, result.run_id)
    except IngestError as expected:
        error = expected
    except KeyboardInterrupt:
        error = IngestError("cancelled", hint="what was not committed changed nothing; it is safe to run it again")
    words = {"error": error.message, "hint": error.hint} if error is not None else {}
    counts = {name: sum(getattr(load, name) for load in loads) for name in COUNTS}
    return {"loads": [load.id for load in loads], "counts": counts, **words}


def _replay(
    request: WantedRun, settings: Settings, bound: BoundImport, launch_here: Callable[[], Any]
) -> dict[str, Any]:
    """Writes the corrected rows as `ingest rejects export` does, and replays them as a person's file is."""
    from ingest_pipelines import ledger
    from ingest_pipelines.actions.reject_file import read_export, write_export
    from ingest_pipelines.actions.rejected_loads import require_load
    from ingest_pipelines.actions.replay import replay_rows
    from ingest_pipelines.actions.target import ledger_of
    from ingest_pipelines.owner_only import open_private, private_folder, private_state

    assert request.load is not None
    corrections = {int(line): cells for line, cells in request.corrections.items()}
    with ledger_of(settings) as connection:
        require_load(connection, bound.name, request.load)
        load = ledger.get_load(connection, request.load)
        assert load is not None
        rows = ledger.open_rejected_rows(connection, load.id, corrections)
        columns = ledger.rejected_columns(connection, load.id)
    corrected = (replace(row, row={**(row.row or {}), **corrections[row.line]}) for row in rows)
    path = private_folder(private_state(settings.state) / "studio") / f"corrected_{os.getpid()}.csv"
    try:
        with open_private(path, "w", newline="") as file:
            write_export(file, load, columns, corrected)
        replayed = replay_rows(settings, bound, read_export(path, bound.name), None, launch_here, _show, _show)
    finally:
        path.unlink(missing_ok=True)
    error = replayed.result.error if replayed.result is not None else None
    words = {"error": error.message, "hint": "your corrections are still on the page"} if error is not None else {}
    resolved = sum(replayed.resolved.values())
    return {"loads": [one.id for one in replayed.loads], "resolved": resolved, **words}


def _show(stage: str) -> None:
    report({"stage": str(stage)})


def _show_rows() -> Callable[[int, int], None]:
    """Reports rows so far and about how many there are, twice a second at most."""
    last = float("-inf")

    def show(rows: int, expected: int) -> None:
        nonlocal last
        if time.monotonic() - last >= ROWS_SECONDS:
            last = time.monotonic()
            report({"rows": rows, "of": expected})

    return show


if __name__ == "__main__":
    main()
