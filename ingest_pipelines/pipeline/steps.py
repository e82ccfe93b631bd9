"""The steps of an item, each of which can be repeated at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.decryption import Keys
from ingest_pipelines.config.file_parts import Parts
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ConfigError, ForgottenMeanwhile, IngestError, RejectsAboveLimit
from ingest_pipelines.landing import ListedPart, land_file, land_parts, open_parts, open_rows, read_arrow
from ingest_pipelines.landing.frames import Frames
from ingest_pipelines.landing.item_columns import add_item_columns
from ingest_pipelines.merge import Target, apply
from ingest_pipelines.merge.early_load import EarlyLoad
from ingest_pipelines.model import Item, Landing, LoadReport, Run, SourceFile, Validated, Workspace
from ingest_pipelines.pipeline.query_step import land_rows
from ingest_pipelines.rules import ChunkConsumer, compile_rules, validate_rows
from ingest_pipelines.sources import open_item
from ingest_pipelines.sources.base import Client, FileSource
from ingest_pipelines.sources.parts import file_set_of
from ingest_pipelines.suppression import NOBODY, Suppressed

Rows = tuple[tuple[str, ...], Frames]

QUERY_KINDS = {"query", "cursor", "window"}
"""Kinds of items that a query reads; the other kinds are files."""


def land(
    item: Item, bound: BoundImport, workspace: Workspace, now: datetime | None = None, *, client: Client | None = None
) -> Landing:
    """The item's bytes on local disk, hashed, proven unchanged while they were read; a query's rows likewise.

    Args:
        now: a cursor never passes it; by default the time of the call.
        client: makes the source's client; the source itself if it is not given.

    Raises:
        SourceUnavailable, ItemChanged (retryable), SourceDenied, ItemGone, ItemRefused, CursorStuck, ConfigError.
    """
    if item.kind in QUERY_KINDS:
        return land_rows(item, bound, workspace, now or datetime.now(UTC), client)
    declared = bound.spec.source
    with open_item(item, bound.connection, client) as source:
        if declared.parts is not None and item.kind != "replay":
            return _land_parts(item, declared.parts, source, bound, workspace)
        keys = None if item.kind == "replay" else _keys(bound)
        return land_file(item, source, workspace.spool, declared.limits, declared.member, keys)


def _keys(bound: BoundImport) -> Keys | None:
    """What decrypts the import's files.

    Raises:
        ConfigError: a key's file is no longer there.
    """
    if bound.spec.source.decrypt is None:
        return None
    try:
        return bound.spec.source.decrypt.keys()
    except (OSError, KeyError, UnicodeError):
        raise ConfigError(
            [f"imports/{bound.name}.yaml: source.decrypt: a secret that it names cannot be read"],
            hint=f"fix it, then run: ingest check {bound.name}",
        ) from None


def _land_parts(item: Item, declared: Parts, source: FileSource, bound: BoundImport, workspace: Workspace) -> Landing:
    folder = item.path.rpartition("/")[0]
    delivery, manifest = file_set_of(item, source, folder, declared)

    def as_item(file: SourceFile) -> Item:
        return replace(
            item, uri=source.uri(file.path), path=file.path, size=file.size, modified_at=file.modified_at,
            version=file.version,
        )  # fmt: skip

    parts = []
    for number, file in zip(delivery.numbers, delivery.parts, strict=True):
        promise = manifest.get(file.path.rpartition("/")[2])
        promised = (promise.rows, promise.sha256) if promise is not None else (None, None)
        parts.append(ListedPart(number, as_item(file), *promised))

    keys = _keys(bound)

    def land_part(part: Item, limits: Limits) -> Landing:
        return land_file(part, source, workspace.spool, limits, bound.spec.source.member, keys)

    return land_parts(item, parts, [as_item(file) for file in delivery.beside], bound.spec.source.limits, land_part)


def validate(
    landing: Landing,
    bound: BoundImport,
    workspace: Workspace,
    early: EarlyLoad | None = None,
    suppressed: Suppressed = NOBODY,
    on_rows: Callable[[int], None] | None = None,
) -> Validated:
    """Every row validated: accepted rows sorted and cast on disk, rejects with every rule they break.

    Args:
        early: the item's load, open already: each sorted chunk is handed to it as soon as it is on disk.
        suppressed: people whose rows are left out, as `find_suppressed` has them. `load` notices if it is not all.
        on_rows: is called with the number of rows so far, again and again.

    Raises:
        ItemRefused: the item as a whole cannot be read.
        InternalError: an accepted row breaks the import's own schema.
    """
    if landing.settled_by is not None:
        return Validated(landing, accepted=(), rejects=None, read=0, accepted_rows=0, rejected_rows=0)
    with _opened(landing, bound) as (header, frames):
        rules = compile_rules(bound.spelled_as(header))
        consumer = ChunkConsumer(frames.read_only(rules.compared_columns), early.add) if early is not None else None
        return validate_rows(landing, header, frames, rules, workspace.spill, consumer, suppressed, on_rows)


def _opened(landing: Landing, bound: BoundImport) -> AbstractContextManager[Rows]:
    if landing.format == "arrow":
        rows = read_arrow(landing, bound.required_columns)
        return nullcontext(add_item_columns(landing, *rows, bound.item_columns))
    if landing.parts:
        return open_parts(
            landing, bound.spec.source.format, lambda stack, part: stack.enter_context(_file(part, bound))
        )
    return _file(landing, bound)


@contextmanager
def _file(landing: Landing, bound: BoundImport) -> Iterator[Rows]:
    source = bound.spec.source
    with open_rows(landing, bound.required_columns, source.format, source.limits, bound.spellings) as rows:
        yield add_item_columns(landing, *rows, bound.item_columns)


def check_rejects(validated: Validated, bound: BoundImport) -> None:
    """The item's rejects are within the import's limit.

    Raises:
        RejectsAboveLimit: nothing is to be merged. `load` would say the same, later.
    """
    if not bound.spec.rejects.allows(validated.rejected_rows, validated.read):
        raise RejectsAboveLimit(
            f"{validated.rejected_rows:,} of {validated.read:,} rows were rejected, and the import allows "
            f"{bound.spec.rejects}",
            hint=f"nothing was merged; see them with: ingest rejects list {bound.name}",
        )


def load(
    validated: Validated,
    bound: BoundImport,
    target: Target,
    run: Run,
    now: datetime,
    early: EarlyLoad | None = None,
    confirm: Callable[[], None] = lambda: None,
    workspace: Workspace | None = None,
) -> LoadReport:
    """The accepted rows merged, with rejects, load record, cursor and events, in one transaction.

    If somebody was forgotten since the rows were validated, they are validated again, without that person's.

    Args:
        early: the load that `validate` fed. Its transaction is taken over if it holds exactly the accepted rows; else
            it is rolled back, and the load begins anew.
        confirm: called before the commit; what it raises keeps the load from being committed.
        workspace: of the run. Without it the load fails if rows have to be validated again.

    Raises:
        TargetUnavailable, TargetBusy (retryable); LoadError and its kinds: nothing was committed.
    """
    try:
        return apply(validated, bound, target, run, now, early=early, confirm=confirm)
    except ForgottenMeanwhile:
        if workspace is None:
            raise
    again = validate(validated.landing, bound, workspace, suppressed=find_suppressed(target, bound))
    try:
        if not run.dry_run:
            check_rejects(again, bound)
        report = load(again, bound, target, run, now, None, confirm, workspace)
    except IngestError as error:
        error.reached = error.reached or again
        raise
    forget_files(again)
    return report


def find_suppressed(target: Target, bound: BoundImport) -> Suppressed:
    """Whom the import's table keeps out.

    Raises:
        TargetUnavailable, TargetDenied.
    """
    with target.session() as connection:
        return ledger.find_suppressed(connection, bound.database.qualified_table)


def forget_files(validated: Validated) -> None:
    """Deletes the files of validated rows, which are loaded."""
    for path in (*validated.accepted, *((validated.rejects,) if validated.rejects else ())):
        path.unlink(missing_ok=True)
