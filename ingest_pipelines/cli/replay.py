"""`ingest rejects replay`: corrected rows applied as an item of their own, and the originals marked resolved.

A bad row stands unresolved in exactly one place: the load that rejected it first. What a replay rejects again stays
unresolved there, and is marked resolved in the replay's own load.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import ImportName, Json
from ingest_pipelines.errors import UsageError, shown

if TYPE_CHECKING:
    import psycopg

    from ingest_pipelines import ledger
    from ingest_pipelines.config import BoundImport

ADDED = ("line", "codes", "reasons")
"""Columns of an export after the file's own."""


_LOOK_BACK = 1_000
"""Loads among which a replay finds the one whose rejects it corrects."""


@dataclass(frozen=True)
class Row:
    """A row of an export: its own cells as they were before it, its line in the original file, why it was rejected.

    The header has no `origin`.
    """

    cells: tuple[str, ...]
    origin: int | None = None
    codes: str = ""


@dataclass(frozen=True)
class Original:
    """The load whose rejects are corrected, and the lines that are not resolved yet."""

    load: int
    unresolved: frozenset[int]


@dataclass(frozen=True)
class Corrected:
    """Corrected rows as a file that the import can read.

    Attributes:
        path: the rows without the columns that the export added, cells as they were before it.
        origins: physical line in `path` -> line of the original file.
        done: rows left out, because their rejects are resolved already.
    """

    path: Path
    origins: dict[int, int]
    done: int = 0


def replay(
    name: ImportName,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An export whose rows you corrected.")],
    load: Annotated[
        int | None, typer.Option("--load", metavar="N", help="Whose rejects; else the load that they fit.")
    ] = None,
    json: Json = False,
) -> None:
    """Load corrected rows. Rows that pass are marked resolved; doing it twice is safe."""
    from ingest_pipelines.cli.loading import launcher, print_load
    from ingest_pipelines.cli.reports import load_json
    from ingest_pipelines.cli.target import ledger_of
    from ingest_pipelines.config import read_project, read_settings

    settings = read_settings()
    project = read_project(settings.home)
    bound = project.require(name)
    with ledger_of(settings) as connection:
        original = _rejects_of(connection, bound, named_rows(file), load, file)
    corrected = prepare(file, original, settings.state)
    if not corrected.origins:
        corrected.path.unlink()
        screen.note(f"nothing to replay: all {screen.plural(corrected.done, 'row')} of {file} are resolved already")
        if json:
            screen.as_json([])
        return
    with launcher(settings, project) as launch, screen.progress(name) as show:
        outcome = launch(name, file=corrected.path, kind="replay", on_stage=show)
        with launch.site.target.session() as connection:
            resolved, loads = settle(connection, bound, original.load, corrected, outcome.run_id)
    if outcome.error is None:
        corrected.path.unlink(missing_ok=True)
    if json:
        screen.as_json([{**load_json(each), "resolved": resolved} for each in loads])
    else:
        for each in loads:
            print_load(each, outcome.report.samples if outcome.report else (), bound)
        _print_resolved(resolved, len(original.unresolved) - resolved, bound, original.load)
    if outcome.error is not None:
        raise outcome.error


def prepare(file: Path, original: Original, state: Path) -> Corrected:
    """The corrected rows that are not resolved yet, ready to be read by the import."""
    folder = state / "replays"
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{os.getpid()}.part"
    origins: dict[int, int] = {}
    done = 0
    with draft.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        line = 1
        for row in _read_export(file):
            if row.origin is not None and row.origin not in original.unresolved:
                done += 1
                continue
            writer.writerow(row.cells)
            if row.origin is not None:
                origins[line] = row.origin
            line += 1 + sum(cell.count("\n") for cell in row.cells)
    path = folder / f"load_{original.load}_{hashlib.sha256(draft.read_bytes()).hexdigest()[:12]}.csv"
    # The file's own time: the same corrections are the same item, however often they are replayed.
    os.utime(draft, ns=(file.stat().st_mtime_ns,) * 2)
    draft.replace(path)
    return Corrected(path, origins, done)


def named_rows(file: Path) -> dict[int, str]:
    """Which rows an export holds: line in the original file -> the codes it was rejected for.

    Raises:
        UsageError: not an export; the message names the line of `file`.
    """
    return {row.origin: row.codes for row in _read_export(file) if row.origin is not None}


def _rejects_of(
    connection: psycopg.Connection, bound: BoundImport, rows: Mapping[int, str], load: int | None, file: Path
) -> Original:
    """The load that rejected exactly these rows for exactly these codes: line numbers alone fit other loads too.

    Raises:
        UsageError: there is none, or the named one is another.
    """
    from ingest_pipelines import ledger

    for candidate in ledger.recent_loads(connection, bound.name, _LOOK_BACK):
        if candidate.codes and load in {None, candidate.id}:
            codes: dict[int, set[str]] = {}
            unresolved: set[int] = set()
            for reject in ledger.list_rejects(connection, bound.name, load=candidate.id):
                codes.setdefault(reject.line, set()).add(reject.code)
                if reject.resolved_at is None:
                    unresolved.add(reject.line)
            if all(codes.get(line) == set(given.split()) for line, given in rows.items()):
                return Original(candidate.id, frozenset(unresolved))
    where = f"load {load}" if load is not None else f"any of the last {_LOOK_BACK} loads"
    raise UsageError(
        f"import {bound.name}: the rows of {file} are no rejects of {where}",
        hint="their columns 'line' and 'codes' must be as exported: ingest rejects export NAME --output F",
    )


def settle(
    connection: psycopg.Connection, bound: BoundImport, original: int, corrected: Corrected, run_id: str
) -> tuple[int, Sequence[ledger.Load]]:
    """Marks what the replay settled; how many rows of the original load, and the replay's own loads."""
    from ingest_pipelines import ledger
    from ingest_pipelines.cli.target import now

    loads = ledger.loads_of_run(connection, run_id)
    resolved = 0
    for load in loads:
        again = {reject.line for reject in ledger.list_rejects(connection, bound.name, load=load.id)}
        ledger.resolve_rejects(connection, load.id, sorted(again), now())
        if load.status == "committed":
            passed = [origin for line, origin in corrected.origins.items() if line not in again]
            ledger.resolve_rejects(connection, original, passed, now())
            resolved += len(passed)
            ledger.record_audit(
                connection, load.by, "replayed", now(), import_name=bound.name, item=load.item,
                detail={"load": load.id, "rejects_of": original, "rows": len(passed)},
            )  # fmt: skip
    return resolved, loads


def _read_export(file: Path) -> Iterator[Row]:
    """The export's rows, the header first; streamed."""
    from ingest_pipelines.cli.rejects import restored

    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.reader(opened, strict=True)
            header = next(reader, [])
            own = [at for at, column in enumerate(header) if column not in ADDED]
            if not {"line", "codes"} <= set(header):
                raise UsageError(
                    f"{file} has no columns 'line' and 'codes': it does not say which rejects its rows correct",
                    hint="correct the file that this wrote: ingest rejects export NAME --output F",
                )
            place, codes = header.index("line"), header.index("codes")
            yield Row(tuple(restored(header[at]) for at in own))
            for cells in reader:
                if len(cells) != len(header):
                    raise UsageError(
                        f"{file}, line {reader.line_num}: {len(cells)} cells, and the header has {len(header)}"
                    )
                if not cells[place].isdecimal():
                    raise UsageError(f"{file}, line {reader.line_num}: the column 'line' holds no line number")
                yield Row(tuple(restored(cells[at]) for at in own), int(cells[place]), cells[codes])
    except FileNotFoundError:
        raise UsageError(f"there is no file {shown(str(file))}") from None
    except OSError as error:
        raise UsageError(f"{shown(str(file))} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not UTF-8", hint="save it as CSV UTF-8") from None
    except csv.Error as error:
        raise UsageError(f"{file} is not a comma-separated file: {error}", hint="save it as CSV UTF-8") from None


def _print_resolved(resolved: int, left: int, bound: BoundImport, load: int) -> None:
    screen.say()
    screen.say(f"  {screen.plural(resolved, 'reject')} of load {load} resolved, {screen.number(left)} left")
    if left:
        screen.say(f"  ingest rejects export {bound.name} --load {load} --output rejects.csv")
