"""The only writer of target data: one transaction per load, so that all of it is there or none of it is.

stage      run-private temporary table, binary COPY, no lock yet
lock       the target table's advisory lock, for the rest only
open       the load's row by its run key: a run that committed already does nothing
ddl        schema, table, columns that the import needs and the table lacks
merge      changed rows over, new rows in
keep       rejects, counts (checked), mapping, cursor, item status
commit     and if its acknowledgement is lost: reconnect, and ask the ledger what is true
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import perf_counter

import psycopg
from psycopg import sql

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import CountsDisagree, InternalError, LoadError, RejectsAboveLimit, TargetUnavailable
from ingest_pipelines.merge.catalog import read_shape
from ingest_pipelines.merge.copy import copy_accepted, copy_rejects
from ingest_pipelines.merge.ddl import additions, fields_of
from ingest_pipelines.merge.driver_errors import LOCK_ERRORS, translate
from ingest_pipelines.merge.mapping import check_mapping, mapping_of
from ingest_pipelines.merge.order import fingerprint, nothing_new, obstacle
from ingest_pipelines.merge.statements import Merge, StageColumn, analyze_stage, create_stage, stage_columns
from ingest_pipelines.merge.target import Target, holder_of, lock_table, prepare_session
from ingest_pipelines.model import Counts, LoadReport, LoadStatus, Run, Validated

Fault = Callable[[str], None]
"""Called with the name of each point a load passes; tests kill the process or cut the connection there."""

FAULT_POINTS = (
    "connected", "copying", "staged", "locked", "opened", "altered", "merged", "rejected", "counted", "closed",
    "committed",
)  # fmt: skip
"""Every point, in order. `closed` is the last one before COMMIT is sent, `committed` the first after it."""

UNMATCHED_LISTED = 1_000
"""How many rows without a profile are listed in the ledger; all of them are counted."""


def no_fault(point: str) -> None:
    """What production calls: nothing happens."""


@dataclass
class _Work:
    """What a load has found out so far."""

    validated: Validated
    bound: BoundImport
    run: Run
    now: datetime
    began: float = field(default_factory=perf_counter)
    load: int = 0
    problem: LoadError | None = None
    ddl: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)
    codes: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def where(self) -> str:
        return f"import {self.bound.name}, item {self.validated.landing.item.key}"

    @property
    def finished_at(self) -> datetime:
        return self.now + timedelta(seconds=perf_counter() - self.began)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = perf_counter()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + perf_counter() - start, 3)

    def refuse(self, problem: LoadError | None) -> None:
        """Stops the load; a dry run goes on, to show what else there is."""
        if problem is not None and not self.run.dry_run:
            raise problem
        self.problem = self.problem or problem


def apply(
    validated: Validated, bound: BoundImport, target: Target, run: Run, now: datetime, *, fault: Fault = no_fault
) -> LoadReport:
    """The item merged, with rejects, load record, cursor and events, in one transaction; or nothing of it.

    A run whose load committed already gets that load's report. With `run.dry_run` everything happens but the commit.

    Args:
        fault: called at each of FAULT_POINTS.

    Raises:
        TargetUnavailable, TargetBusy: retryable; trying again is safe, whatever happened.
        StaleItem, ShrunkItem, RejectsAboveLimit, TargetRefused, LoadError: nothing was committed.
        ConfigError: the import's mapping is locked, and the YAML says something else.
    """
    work = _Work(validated, bound, run, now, codes=dict(validated.codes))
    schema, table = bound.database.schema_and_table
    connection = target.connect()
    try:
        fault("connected")
        report = _transaction(connection, work, target, fault)
        if run.dry_run:
            connection.rollback()
            return report
        start = perf_counter()
        try:
            connection.commit()
        except psycopg.OperationalError as error:
            return _ask_the_ledger(target, work, error)
        work.seconds["commit"] = round(perf_counter() - start, 3)
        fault("committed")
        return report
    except LOCK_ERRORS as error:
        connection.rollback()
        raise translate(error, work.where, holder=holder_of(connection, schema, table)) from None
    except psycopg.Error as error:
        raise translate(error, work.where) from None
    finally:
        connection.close()


def _transaction(connection: psycopg.Connection, work: _Work, target: Target, fault: Fault) -> LoadReport:
    validated, bound, item = work.validated, work.bound, work.validated.landing.item
    prepare_session(connection, target, bound.name)
    settled = ledger.find_load(connection, item, work.run.id)
    if settled is not None and settled.status in {"committed", "skipped"}:
        return settled.report
    if reason := nothing_new(connection, validated.landing, bound, work.run):
        return _skip(connection, work, reason)
    work.refuse(obstacle(connection, validated, bound, work.run))
    work.refuse(_above_limit(work, validated.rejected_rows))
    check_mapping(ledger.find_import(connection, bound.name), bound)

    columns = stage_columns(bound)
    with work.timed("copy"):
        _stage(connection, work, columns, fault)
    fault("staged")
    with work.timed("lock"):
        lock_table(connection, *bound.database.schema_and_table)
    fault("locked")
    work.refuse(obstacle(connection, validated, bound, work.run))
    ledger.register_items(connection, [item], work.now)
    opened = ledger.open_load(connection, _new_load(work, "running"))
    if opened is None:
        settled = ledger.find_load(connection, item, work.run.id)
        assert settled is not None
        return settled.report
    work.load = opened
    fault("opened")
    with work.timed("ddl"):
        _alter(connection, work)
    fault("altered")
    with work.timed("merge"):
        merge = Merge(bound, tuple(c for c in columns if c.name in {m.name for m in bound.fields}), bound.spec.mode)
        counts = _merge(connection, work, merge)
    fault("merged")
    if validated.rejects is not None:
        copy_rejects(connection, validated.rejects, work.load)
    fault("rejected")
    if not counts.balanced:
        raise CountsDisagree(f"{work.where}: {counts} do not add up", hint="nothing was committed; this is a bug")
    fault("counted")
    report = _close(connection, work, counts)
    fault("closed")
    return report


def _above_limit(work: _Work, rejected: int) -> LoadError | None:
    limit, read = work.bound.spec.rejects, work.validated.read
    if limit.allows(rejected, read):
        return None
    return RejectsAboveLimit(
        f"{work.where}: {rejected} of {read} rows were rejected, and the import allows {limit}",
        hint=f"nothing was merged; see them with: ingest rejects list {work.bound.name}",
    )


def _new_load(work: _Work, status: LoadStatus) -> ledger.NewLoad:
    landing = work.validated.landing
    return ledger.NewLoad(
        item=landing.item, run=work.run, started_at=work.now, status=status, content_sha256=landing.content_sha256,
        fingerprint=fingerprint(work.bound), cursor_to=landing.cursor_to,
    )  # fmt: skip


def _skip(connection: psycopg.Connection, work: _Work, reason: str) -> LoadReport:
    item, counts = work.validated.landing.item, Counts()
    ledger.register_items(connection, [item], work.now)
    load = ledger.open_load(connection, _new_load(work, "skipped"))
    if load is not None:
        ledger.close_load(connection, load, ledger.Outcome("skipped", counts, work.finished_at, error=reason))
        ledger.set_item_status(connection, item, "skipped")
    return LoadReport(work.bound.name, item.key, load, "skipped", counts, reason=reason, dry_run=work.run.dry_run)


def _stage(connection: psycopg.Connection, work: _Work, columns: tuple[StageColumn, ...], fault: Fault) -> None:
    connection.execute(create_stage(columns))
    jsonb = frozenset(m.name for m in work.bound.fields if m.field.type in {"object", "objects", "array"})
    staged = copy_accepted(connection, work.validated.accepted, columns, jsonb, lambda: fault("copying"))
    if staged != work.validated.accepted_rows:
        raise InternalError(
            f"{work.where}: {work.validated.accepted_rows} rows were accepted, and {staged} reached the stage",
            hint="nothing was committed; run it again",
        )
    if work.bound.key is not None:
        connection.execute(analyze_stage(work.bound.database.key))


def _alter(connection: psycopg.Connection, work: _Work) -> None:
    bound = work.bound
    wanted = {name: field.type_name for name, field in fields_of(bound).items()}
    known = ledger.registered_fields(connection, bound.database_name)
    for name, kind in wanted.items():
        if name in known and known[name].type != kind:
            raise LoadError(
                f"{work.where}: the field '{name}' was created as {known[name].type} by import "
                f"{known[name].created_by}, and the YAML says {kind}; a field's type can't change",
                hint=f"nothing was merged; write type: {known[name].type}, or choose another field name",
            )
    statements = list(additions(bound, read_shape(connection, *bound.database.schema_and_table)))
    for statement in statements:
        connection.execute(statement)
    work.ddl = tuple(statement.as_string(connection) for statement in statements)
    fresh = [(name, kind) for name, kind in wanted.items() if name not in known]
    if fresh:
        ledger.register_fields(connection, bound.database_name, fresh, bound.name, work.now)


def _merge(connection: psycopg.Connection, work: _Work, merge: Merge) -> Counts:
    validated = work.validated
    shape = read_shape(connection, *work.bound.database.schema_and_table)
    assert shape.oid is not None
    unmatched = 0
    if merge.mode == "update_only":
        unmatched = _list_unmatched(connection, work, merge)
    if validated.accepted_rows < shape.rows:
        connection.execute("SET LOCAL enable_hashjoin = off")
    before = _written(connection, shape.oid)
    written = connection.execute(merge.statement()).rowcount
    after = _written(connection, shape.oid)
    inserted, updated = after[0] - before[0], after[1] - before[1]
    if inserted + updated != written:
        raise CountsDisagree(
            f"{work.where}: MERGE wrote {written} rows, and Postgres counted {inserted} inserts and {updated} updates",
            hint="nothing was committed; do triggers of the table write to it, or is track_counts off?",
        )
    rest = validated.accepted_rows - written - unmatched
    return Counts(
        read=validated.read, inserted=inserted, updated=updated, unmatched=unmatched,
        unchanged=0 if merge.mode == "add_only" else rest,
        skipped=validated.superseded_rows + (rest if merge.mode == "add_only" else 0),
        rejected=validated.rejected_rows,
    )  # fmt: skip


def _list_unmatched(connection: psycopg.Connection, work: _Work, merge: Merge) -> int:
    found = connection.execute(merge.count_unmatched()).fetchone()
    assert found is not None
    if found[0]:
        connection.execute(
            sql.SQL(
                "INSERT INTO ingest.rejects (load, line, key, field, code, reason) "
                "SELECT %s, line, key, %s, 'unmatched', 'no profile has this key' FROM ({}) AS rows (line, key)"
            ).format(merge.unmatched()),
            (work.load, work.bound.database.key, UNMATCHED_LISTED),
        )
    return int(found[0])


def _written(connection: psycopg.Connection, oid: int) -> tuple[int, int]:
    """Rows inserted into and updated in the table, and its partitions, by this transaction."""
    found = connection.execute(
        """
        SELECT COALESCE(sum(pg_stat_get_xact_tuples_inserted(relid)), 0)::bigint,
               COALESCE(sum(pg_stat_get_xact_tuples_updated(relid)), 0)::bigint
        FROM (SELECT %(oid)s::oid AS relid UNION SELECT relid FROM pg_partition_tree(%(oid)s::oid::regclass)) parts
        """,
        {"oid": oid},
    ).fetchone()
    assert found is not None
    return int(found[0]), int(found[1])


def _close(connection: psycopg.Connection, work: _Work, counts: Counts) -> LoadReport:
    validated, bound, item = work.validated, work.bound, work.validated.landing.item
    if work.run.dry_run:
        problem = work.problem
        return LoadReport(
            bound.name, item.key, None, "committed" if problem is None else "refused", counts,
            reason="" if problem is None else str(problem), ddl=work.ddl, codes=work.codes, samples=validated.samples,
            warnings=tuple(work.warnings), seconds=work.seconds, cursor_to=validated.landing.cursor_to, dry_run=True,
        )  # fmt: skip
    ledger.lock_mapping(connection, bound.name, bound.database_name, fingerprint(bound), mapping_of(bound), work.now)
    if item.kind == "cursor":
        landing = validated.landing
        reached = landing.cursor_commit or landing.cursor_to or item.cursor_from
        ledger.set_cursor(connection, bound.name, reached, work.now, load=work.load)
    ledger.set_item_status(connection, item, "committed")
    ledger.close_load(
        connection,
        work.load,
        ledger.Outcome(
            "committed", counts, work.finished_at, codes=work.codes, ddl=work.ddl, warnings=work.warnings,
            seconds=work.seconds,
        ),
    )  # fmt: skip
    return LoadReport(
        bound.name, item.key, work.load, "committed", counts, ddl=work.ddl, codes=work.codes, samples=validated.samples,
        warnings=tuple(work.warnings), seconds=work.seconds, cursor_to=validated.landing.cursor_to,
    )  # fmt: skip


def _ask_the_ledger(target: Target, work: _Work, error: psycopg.Error) -> LoadReport:
    """What is true after a commit whose acknowledgement did not come.

    The old session may still be committing: its advisory lock is waited for before the ledger is asked.
    """
    try:
        with target.session(work.where) as connection:
            prepare_session(connection, target, work.bound.name)
            lock_table(connection, *work.bound.database.schema_and_table)
            settled = ledger.find_load(connection, work.validated.landing.item, work.run.id)
    except TargetUnavailable as second:
        raise TargetUnavailable(
            f"{work.where}: the connection broke while the commit was under way, and the target does not answer since",
            hint="whether it was committed is in the ledger; running it again asks the ledger first and is safe",
        ) from second
    if settled is None or settled.status != "committed":
        raise translate(error, work.where) from None
    return settled.report
