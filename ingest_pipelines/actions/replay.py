"""Corrected rows as an item of their own, whose load marks their rejects resolved.

Before the run starts, the ledger records which reject each row corrects; the load resolves those rejects in its own
transaction. So only the load that took a row resolves its reject, even if rows are replayed twice, by two people at
once, or if this process dies.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ingest_pipelines.actions.reject_file import Export, check_of, write_source
from ingest_pipelines.actions.target import ledger_of
from ingest_pipelines.errors import StaleItem, UsageError, printable
from ingest_pipelines.owner_only import open_private, private_folder, private_state

if TYPE_CHECKING:
    import psycopg

    from ingest_pipelines.actions.launcher import Launcher
    from ingest_pipelines.config import BoundImport, Settings
    from ingest_pipelines.ledger import Correction, Load
    from ingest_pipelines.orchestration.runs.launch import RunResult


@dataclass(frozen=True)
class Corrected:
    """Corrected rows as a file that the import can read.

    Attributes:
        path: the rows whose rejects are open, in the source's format.
        corrections: the reject that each of them corrects.
    """

    path: Path
    corrections: Sequence[Correction]


@dataclass(frozen=True)
class Replayed:
    """How a replay ended.

    Attributes:
        result: None: there was nothing to load, because all rows are resolved.
        resolved, left: rejects that it resolved and that are open, by the load that rejected them.
    """

    result: RunResult | None = None
    loads: Sequence[Load] = ()
    resolved: Mapping[int, int] = field(default_factory=dict)
    left: Mapping[int, int] = field(default_factory=dict)


def replay_rows(
    settings: Settings,
    bound: BoundImport,
    export: Export,
    load: int | None,
    launching: Callable[[], AbstractContextManager[Launcher]],
    show: Callable[[str], None],
    tell: Callable[[str], None],
) -> Replayed:
    """Loads the export's rows whose rejects are open; it is safe to replay a row twice.

    Args:
        load: that rejected the rows, if an older version exported them.
        launching: opens a launcher once there is something to load.
        show: called with each stage of the run.
        tell: gets what the replay waits for.

    Raises:
        UsageError: a row of the export is not a reject of this import, or occurs twice; nothing ran.
    """
    with _one_at_a_time(private_state(settings.state) / "replays", tell) as folder:
        with ledger_of(settings) as connection:
            corrected = prepare(connection, bound, export, load, folder)
        if not corrected.corrections:
            return Replayed()
        with launching() as launch:
            result = launch(bound.name, file=corrected.path, corrections=corrected.corrections, on_stage=show)
            while isinstance(result.error, StaleItem):  # another replay resolved some of these rejects meanwhile
                with launch.site.target.session() as connection:
                    left = prepare(connection, bound, export, load, folder)
                if not left.corrections:
                    return Replayed()
                if len(left.corrections) >= len(corrected.corrections):
                    break
                corrected = left
                result = launch(bound.name, file=corrected.path, corrections=corrected.corrections, on_stage=show)
            with launch.site.target.session() as connection:
                loads, resolved, waiting = _outcome(connection, bound, corrected, result.run_id)
    return Replayed(result, loads, resolved, waiting)


def prepare(
    connection: psycopg.Connection, bound: BoundImport, export: Export, load: int | None, folder: Path
) -> Corrected:
    """Writes the corrected rows whose rejects are open to a file that the import can read.

    Raises:
        UsageError: a row of the export is not a reject of this import, or occurs twice; nothing ran.
    """
    from ingest_pipelines.ledger import Correction

    waiting = _open_rows(connection, bound, export, load)
    draft = folder / f".{os.getpid()}.part"
    with open_private(draft, "w", newline="") as file:
        written = write_source(file, export, waiting)
    corrections = [Correction(line, *waiting[place]) for line, place in written.items()]
    # The same corrections are always the same item: its name is their hash, its time is FILE's.
    with draft.open("rb") as source:
        content = hashlib.file_digest(source, "sha256")
    content.update(repr(corrections).encode())
    loads = "_".join(map(str, sorted({reject_load for reject_load, _ in waiting.values()})[:3]))
    path = folder / f"load_{loads}_{content.hexdigest()[:12]}.csv"
    os.utime(draft, ns=(export.version[1],) * 2)
    draft.replace(path)
    return Corrected(path, corrections)


def _open_rows(
    connection: psycopg.Connection, bound: BoundImport, export: Export, load: int | None
) -> dict[int, tuple[int, int]]:
    """By the line of the export on which it starts, each row whose reject is open: load and line of the reject."""
    from ingest_pipelines import ledger

    loads: dict[int, Load] = {}
    states: dict[int, Mapping[int, ledger.RowState]] = {}
    places: dict[tuple[int, int], int] = {}
    waiting: dict[int, tuple[int, int]] = {}
    for row in export.rows():
        number = row.load if row.load is not None else load
        where = f"{printable(str(export.file))}, line {row.place}"
        if number is None:
            raise UsageError(
                f"{printable(str(export.file))} was exported by an older version and does not name its rows' load",
                hint=f"name the load: ingest rejects replay {bound.name} FILE --load N; "
                f"loads and their items: ingest report {bound.name}",
            )
        if load not in {None, number}:
            raise UsageError(f"{where}: the row is a reject of load {number}, not of load {load}")
        if number not in loads:
            reject_load = ledger.get_load(connection, number)
            if reject_load is None or reject_load.import_name != bound.name:
                raise UsageError(
                    f"{where}: import {bound.name} has no load {number}; nothing was loaded",
                    hint=f"is it an export of another import or database? ingest report {bound.name}",
                )
            loads[number], states[number] = reject_load, ledger.row_states(connection, number)
        state = states[number].get(row.line)
        is_genuine = row.check == check_of(loads[number], row.line) if row.load is not None else True
        if not is_genuine or state is None or (row.load is None and state.codes != row.codes):
            raise UsageError(
                f"{where}: load {number} did not reject this row on line {row.line}; nothing was loaded",
                hint="keep the columns that begin with ingest. in their row, as exported: "
                f"ingest rejects export {bound.name} --load {number} --output F",
            )
        other = places.setdefault((number, row.line), row.place)
        if other != row.place:
            raise UsageError(
                f"{where}: the row corrects the same reject as line {other}; nothing was loaded",
                hint="keep one of them; load a new customer with a file of its own",
            )
        if state.open:
            waiting[row.place] = (number, row.line)
    return waiting


def _outcome(
    connection: psycopg.Connection, bound: BoundImport, corrected: Corrected, run_id: str
) -> tuple[Sequence[Load], dict[int, int], dict[int, int]]:
    """The run's loads; how many rows it resolved and how many are left open, by the load that rejected them."""
    from ingest_pipelines import ledger

    loads = ledger.loads_of_run(connection, run_id)
    resolved = dict.fromkeys(sorted({correction.reject_load for correction in corrected.corrections}), 0)
    for run_load in loads:
        if run_load.status == "committed":
            item = ledger.find_item(connection, bound.name, run_load.item)
            assert item is not None
            resolved |= ledger.corrected_rows(connection, item, run_load.id)
    return loads, resolved, {reject_load: ledger.count_open(connection, reject_load) for reject_load in resolved}


@contextmanager
def _one_at_a_time(folder: Path, tell: Callable[[str], None]) -> Iterator[Path]:
    """The folder for a replay's file, emptied at the end. Waits for another replay in the same folder.

    Otherwise two replays of the same rows would share a file, and the first would delete it under the other.
    """
    private_folder(folder)
    with open_private(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            tell("waiting for another replay of this project to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            for path in folder.iterdir():  # also files of processes that were killed
                if path.name != ".lock":
                    path.unlink(missing_ok=True)
