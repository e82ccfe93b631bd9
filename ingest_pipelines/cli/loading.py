"""`ingest run`: one import, one run through Dagster, one report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingest_pipelines.actions.launcher import Launcher, launching, user
from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import ImportName, Json
from ingest_pipelines.cli.reports import cleaned_words, load_json
from ingest_pipelines.errors import IngestError, UsageError
from ingest_pipelines.model import COUNTS, item_name, spelled_line

if TYPE_CHECKING:
    from ingest_pipelines.config import BoundImport, Project, Settings
    from ingest_pipelines.ledger import Load
    from ingest_pipelines.model import Counts, RejectSample

SAMPLES = 5
"""Rejects that a report shows; `ingest rejects list` shows them all."""


def run(
    name: ImportName,
    item: Annotated[
        str | None, typer.Option("--item", metavar="ITEM", help="Load this item again, such as one that failed.")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", metavar="F", help="Load this local file.")] = None,
    failed: Annotated[
        bool,
        typer.Option("--failed", help="Load again, in order, all items that failed, were refused or whose run died."),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Load it even if it is older, much smaller or unchanged; the audit trail records it."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Load an import's newest file, or the one you name, and report every row."""
    if sum((item is not None, file is not None, failed)) > 1:
        raise UsageError("--item, --file and --failed exclude each other", hint="use only one of them")
    from ingest_pipelines import ledger
    from ingest_pipelines.config import read_settings
    from ingest_pipelines.config.current_project import read_current_project

    settings = read_settings()
    project = read_current_project(settings.home)
    bound = project.require(name)
    loads: list[Load] = []
    error: IngestError | None = None
    with launcher(settings, project) as launch, screen.progress(name) as show:
        items = launch.failed_items(name) if failed else [item]
        if not items:
            screen.note(f"import {name}: no item has failed; nothing to run again")
        for item_key in items:
            outcome = launch(name, item_key=item_key, file=file, forced=force, on_stage=show)
            with launch.site.target.session() as connection:
                run_loads = ledger.loads_of_run(connection, outcome.run_id)
            loads += run_loads
            is_raised = error is None and outcome.error is not None  # at the end, with its reason
            for load in () if json else run_loads:
                has_reason_below = is_raised and load.status in {"failed", "refused"}
                samples = outcome.report.samples if outcome.report else ()
                print_load(load, samples, bound, reason=not has_reason_below)
            error = error or outcome.error
    if json:
        screen.as_json([load_json(load) for load in loads])
    if error is not None:
        raise error


@contextmanager
def launcher(settings: Settings, project: Project) -> Iterator[Launcher]:
    """Runs imports for the person at the terminal, who sees on stderr what a run waits for."""
    with launching(settings, project, user(), lambda text: screen.note(screen.wrapped(text, 2))) as launch:
        yield launch


def print_load(
    load: Load,
    samples: tuple[RejectSample, ...],
    bound: BoundImport,
    *,
    reason: bool = True,
    corrected: Path | None = None,
) -> None:
    """Prints one load: how it ended, every count, why rows were rejected, what to type next.

    Args:
        reason: whether to print why it failed; the caller prints it otherwise.
        corrected: the export that this load replayed.
    """
    state = screen.painted(load.status, screen.STATUS_STYLES.get(load.status))
    screen.say(f"{state}: import {load.import_name}, item {item_name(load.item)}, load {load.id}")
    for line in load.error.splitlines() if reason else ():
        screen.say(f"  {screen.wrapped(line, 2)}")
    if load.read:
        screen.say()
        print_counts(load.counts, bound, suppressed=load.suppressed, absent=load.absent)
        print_waiting(load.kept, load.healed)
    elif load.status == "committed":
        screen.say(f"  nothing new: {_nothing(load, bound)}")
    if load.codes:
        screen.say()
        print_codes(load.codes, samples)
    if words := cleaned_words(load.cleaned):
        screen.say(f"  cleaned cells: {screen.wrapped(words, 17)}")
    for statement in load.ddl:
        screen.say(f"  ddl: {screen.wrapped(statement, 7)}")
    for warning in load.warnings:
        screen.say(f"  {screen.painted('warning', 'warn')}: {screen.wrapped(warning, 11)}")
    if load.rejected and corrected is not None:
        screen.say()
        command = f"ingest rejects list {bound.name} --load {load.id}"
        screen.say(f"  {command}    each with its line in {corrected} and its reason")
    elif load.rejected:
        screen.say()
        screen.say(f"  ingest rejects list {bound.name}      each with its line and reason")
        screen.say(f"  ingest rejects export {bound.name}    as CSV, to correct and replay")


def _nothing(load: Load, bound: BoundImport) -> str:
    """Why a load read no row."""
    if bound.spec.source.cursor is None:
        return "the item has no rows"
    since = f" after {load.cursor_from}" if load.cursor_from is not None else ""
    return f"the source has no rows{since}"


def print_counts(counts: Counts, bound: BoundImport, *, suppressed: int = 0, absent: int = 0) -> None:
    """Prints every count of a load, and why unmatched and skipped rows changed nothing.

    Args:
        suppressed: those of the skipped rows that are of people who were forgotten.
        absent: profiles that a full file had no longer.
    """
    unmatched = "there are no such profiles" if bound.spec.lists_keys else "update_only adds no profiles"
    why = {"unmatched": unmatched, "skipped": why_skipped(bound, counts.skipped, suppressed)}
    for name in COUNTS:
        rows = getattr(counts, name)
        if name == "deleted" and bound.spec.mode != "delete":
            continue
        meaning = f"   {screen.painted(why[name], 'dim')}" if rows and name in why else ""
        screen.say(f"  {name:<10} {screen.number(rows):>12}{meaning}")
    if absent:
        what = "marked" if bound.spec.set else "deleted"
        gone = screen.painted(f"profiles that the file no longer has: {what}", "dim")
        screen.say(f"  {'absent':<10} {screen.number(absent):>12}   {gone}")
    if counts.not_merged:
        why_not = screen.painted("valid rows of an item that was not merged", "dim")
        screen.say(f"  {'not merged':<10} {screen.number(counts.not_merged):>12}   {why_not}")


def print_waiting(kept: int, healed: int) -> None:
    """Prints how many unmatched rows of the load wait, and how many that waited it applied; nothing without any."""
    for name, rows, meaning in (
        ("waiting", kept, "of the unmatched rows: until a load adds their profiles"),
        ("healed", healed, "rows of earlier loads that had no profile until now"),
    ):
        if rows:
            screen.say(f"  {name:<10} {screen.number(rows):>12}   {screen.painted(meaning, 'dim')}")


def why_skipped(bound: BoundImport, skipped: int, suppressed: int) -> str:
    """Why the import may skip rows that are not rejected, according to its YAML."""
    spec = bound.spec
    forgotten = [f"suppressed: {screen.number(suppressed)}"] if suppressed else []
    if suppressed == skipped:
        return ", ".join(forgotten)
    reasons = [
        *forgotten,
        *(["their profiles exist already"] if spec.mode == "add_only" else []),
        *(["they are older than their profiles"] if spec.version is not None else []),
        *(["a later row of the item has the same key"] if spec.duplicates == "last" else []),
        *(["an earlier row of the item has the same key"] if spec.duplicates == "first" else []),
    ]
    return ", or ".join(reasons)


def print_codes(codes: Any, samples: Any) -> None:
    """Prints the rejected rows per rule, most frequent first, each with an example."""
    examples: dict[str, Any] = {}
    for sample in samples:
        examples.setdefault(sample.code, sample)
    rows = []
    for code, count in sorted(codes.items(), key=lambda pair: (-pair[1], pair[0])):
        example = examples.get(code)
        text = f"{spelled_line(example.line)}, {screen.why(example.field, example.reason)}" if example else ""
        rows.append((screen.number(count), code, text))
    for line in screen.columns(("rows", "rejected for", "for example"), rows, right=[0]):
        screen.say(line)
