"""Finds the rows that the table itself refuses, and rejects them: `refused_by_table`, with the line and the constraint.

Postgres fails the whole statement for one row that breaks a constraint, and names no line. A load that fails like that
is rolled back and begins again, with this search in the place of its one MERGE: the rows are merged in parts, each in a
savepoint, and a part that fails is cut into smaller ones, down to single rows. What succeeded stays. A row that failed
only because another row was not merged yet is tried again after it, and rows that pass unique values on to each other
are tried together: the final state counts. A load without such rows never comes here.

The search is bounded: in rows, by the import's limit; in steps; and in time. Beyond that the load fails, with the lines
that are found.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from ingest_pipelines.merge.concerned import about_fields, concerned
from ingest_pipelines.merge.driver_errors import kind_of, refuses_rows
from ingest_pipelines.merge.faults import Fault
from ingest_pipelines.merge.load_state import LoadState
from ingest_pipelines.merge.names import comma
from ingest_pipelines.merge.shape import TableShape
from ingest_pipelines.merge.stage_rejects import RefusedByTable, StageRejects
from ingest_pipelines.merge.statements import Merge
from ingest_pipelines.merge.target import force_index_lookups, scalar
from ingest_pipelines.merge.vacated_values import FIND_INDEXES, UniqueIndex, VacatedValues
from ingest_pipelines.merge.write_steps import (
    Overtaken,
    delete_profiles,
    left_out,
    note_unmatched,
    require_same_unmatched,
    takes_a_key,
    upsert_consents,
)
from ingest_pipelines.model import spelled_line

CODE = "refused_by_table"

LISTED = 20
"""Refused rows that are searched for even if the first is one too many."""

STEPS = 20_000
"""Tries of a search, each a millisecond or more."""

SECONDS = 60.0
"""The shortest time limit of a search. A large item has LOADS_LONG times as long as its first try took."""

LOADS_LONG = 4.0

_PARTS, _ROWS_OF_A_PART = 64, 1_000
"""Into how many parts rows are cut that failed together, and how many rows a part has at least; few rows are halved.

A few refused rows spoil one part each, and most rows are merged once: in halves they would be merged once per level.
"""

_SHOWN = 5
"""Lines that a message names."""

_GROUPED = 2_000
"""Refused rows among which values that are passed on are looked for."""

_MOVES = {"23505", "23P01"}
"""Unique and exclusion violations: another row of the item may be about to give the value up."""

_BY_ITSELF = ("22", "23502", "23514")
"""Classes and codes of errors that no other row of the item can cure."""

Places = tuple[int, int] | list[int]
"""Waiting rows: from the first to the last place, or each by its place."""


@dataclass(frozen=True)
class RowRefusal:
    """Why the table refuses a row, in words without a value.

    Attributes:
        state: the SQLSTATE.
        reason: the code's name, and the constraint, table, column or function.
        field: the field that the constraint is about, or "".
    """

    state: str
    reason: str
    field: str = ""

    @property
    def may_heal(self) -> bool:
        """Whether it may go away once other rows of the item are merged."""
        return not self.state.startswith(_BY_ITSELF)


class RefusedRows:
    """The search in one load: takes the place of its MERGE. All accepted rows are in the stage, with their profiles."""

    def __init__(self, connection: psycopg.Connection, state: LoadState, shape: TableShape, fault: Fault) -> None:
        assert shape.oid is not None
        self._connection, self._state, self._shape, self._fault = connection, state, shape, fault
        self._merge = Merge(state.stage, state.changed_at)
        with connection.cursor(row_factory=class_row(UniqueIndex)) as cursor:
            indexes = cursor.execute(FIND_INDEXES, {"oid": shape.oid}).fetchall()
        self._vacated = VacatedValues(self._merge, shape, indexes)
        self._steps = 0
        self._until = perf_counter() + max(SECONDS, LOADS_LONG * state.first_try_seconds)
        self._rejects = StageRejects(connection, state.stage, state.load, state.matched)
        self._refused: dict[int, RowRefusal] = {}

    def merge(self) -> None:
        """Merges every row that the table accepts, and rejects the others.

        Raises:
            RefusedByTable: more rows are rejected than the import allows, or the search came to its bounds.
            Overtaken: another application wrote to the table meanwhile.
        """
        rows = self._set_aside()
        self._fault("search: begun")
        whole = self._search([(1, rows)] if rows else [])
        self._connection.execute("TRUNCATE ingest_stage")
        force_index_lookups(self._connection, False)
        self._fault("search: merged")
        if self._refused:
            self._reject()
        problem = self._problem(whole)
        if problem is not None and not (whole and self._state.run.dry_run):
            raise problem from None  # a driver's error, with its values, is never shown beside it
        self._state.refuse(problem)

    def _set_aside(self) -> int:
        """Moves the rows from the stage to `ingest_waiting`, with their places; returns how many."""
        self._connection.execute(
            "CREATE TEMPORARY TABLE ingest_waiting ON COMMIT DROP AS"
            " SELECT row_number() OVER () AS _place, * FROM ingest_stage"
        )
        self._connection.execute("CREATE UNIQUE INDEX ON ingest_waiting (_place)")
        self._connection.execute("ANALYZE ingest_waiting (_place)")
        return int(scalar(self._connection, "SELECT count(*) FROM ingest_waiting"))

    def _search(self, waiting: list[tuple[int, int]]) -> bool:
        """Merges what can be merged; returns whether every row was tried, so that all others are known as refused."""
        if self._state.first_refusal not in _MOVES and waiting and waiting[0][1] > 1:
            waiting = parts_of(*waiting[0])  # all rows together have failed before
        while waiting:
            first, last = waiting.pop()
            if self._is_over:
                return False
            refusal = self._try((first, last))
            if refusal is None:
                continue
            if first < last:
                waiting += parts_of(first, last)
                continue
            self._refused[first] = refusal
            if len(self._refused) % LISTED == 0 and self._is_above_limit:
                self._settle()
                if self._is_above_limit and len(self._refused) >= LISTED:
                    return False
        self._settle()
        return True

    def _settle(self) -> None:
        """Tries refused rows again, until none is accepted that was refused before."""
        while any(refusal.may_heal for refusal in self._refused.values()) and not self._is_over:
            before = len(self._refused)
            for group in self._groups():
                refusal = self._try(group)
                if refusal is None:
                    for place in group:
                        del self._refused[place]
                elif len(group) == 1:
                    self._refused[group[0]] = refusal
            if len(self._refused) == before:
                return

    def _groups(self) -> list[list[int]]:
        """The refused rows that other rows may have cured; those that pass values on in a circle are one group."""
        places = sorted(place for place, refusal in self._refused.items() if refusal.may_heal)
        wants: dict[int, set[int]] = {place: set() for place in places}
        if len(places) <= _GROUPED:
            for query in self._vacated.links():
                for wanting, holding in self._connection.execute(query, {"places": places}).fetchall():
                    wants[wanting].add(holding)
        return circles(wants)

    def _try(self, places: Places) -> RowRefusal | None:
        """Merges these rows, with their consents; if the table refuses them, undoes it, and returns why."""
        self._steps += 1
        state, connection = self._state, self._connection
        counts = state.inserted, state.updated, state.unmatched, state.deleted
        connection.execute("SAVEPOINT ingest_try")
        try:
            connection.execute("SET CONSTRAINTS ALL DEFERRED")
            self._fill_stage(places)
            self._merge_stage()
            upsert_consents(connection, state)
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
            connection.execute("RELEASE SAVEPOINT ingest_try")
        except psycopg.Error as error:
            if not refuses_rows(error):
                raise
            connection.execute("ROLLBACK TO SAVEPOINT ingest_try; RELEASE SAVEPOINT ingest_try")
            state.inserted, state.updated, state.unmatched, state.deleted = counts
            if not state.alone and takes_a_key(connection, state.bound, error):
                raise Overtaken from None
            self._fault("search: undone")
            about = concerned(connection, error)
            reason = ", ".join(part for part in (kind_of(error.sqlstate or ""), about) if part)
            field = next((name for name in about_fields(connection, error) if name in self._field_names), "")
            return RowRefusal(error.sqlstate or "", reason, field)
        return None

    @property
    def _field_names(self) -> set[str]:
        return {column.into for column in self._state.stage.fields}

    def _fill_stage(self, places: Places) -> None:
        """Puts these waiting rows into the stage, and no others."""
        names = [name for name in self._state.stage.column_names if name]
        chosen = sql.SQL("_place = ANY(%s)" if isinstance(places, list) else "_place BETWEEN %s AND %s")
        self._connection.execute("TRUNCATE ingest_stage")
        filled = self._connection.execute(
            sql.SQL("INSERT INTO ingest_stage ({}) SELECT {} FROM ingest_waiting WHERE {}").format(
                comma(names), comma(names), chosen
            ),
            (places,) if isinstance(places, list) else places,
        ).rowcount
        force_index_lookups(self._connection, filled < self._shape.rows / 2)

    def _merge_stage(self) -> None:
        """Merges the stage, after the unique values are freed that its rows pass on; counts.

        Raises:
            Overtaken, TargetRefused: as `merge_stage`.
        """
        state, merge, execute = self._state, self._merge, self._connection.execute
        unmatched = note_unmatched(self._connection, state)
        if state.bound.spec.mode == "delete":
            delete_profiles(self._connection, state)
            return
        kept = execute(merge.keep_written(returns_old=False), prepare=False).fetchone()
        assert kept is not None
        planned, inserted = int(kept[0]), int(kept[1])
        due = planned
        if self._vacated.columns and self._vacate():
            due = scalar(self._connection, merge.count_to_write())
        written = execute(merge.statement(), prepare=False).rowcount
        if written != due:
            if not state.alone:
                raise Overtaken
            raise left_out(state, state.bound.database.table, due - written, due)
        require_same_unmatched(self._connection, state, unmatched)
        state.inserted += inserted
        state.updated += planned - inserted

    def _vacate(self) -> bool:
        """Frees unique values; returns whether it did. Where the table does not let go of one, none is freed."""
        self._connection.execute("SAVEPOINT ingest_vacate")
        try:
            vacated = self._connection.execute(self._vacated.vacate()).rowcount > 0
            self._connection.execute("RELEASE SAVEPOINT ingest_vacate")
        except psycopg.Error as error:
            if not refuses_rows(error):
                raise
            self._connection.execute("ROLLBACK TO SAVEPOINT ingest_vacate; RELEASE SAVEPOINT ingest_vacate")
            return False
        return vacated

    def _reject(self) -> None:
        """Moves the refused rows into the ledger's rejects."""
        self._connection.execute("CREATE TEMPORARY TABLE ingest_refused (place bigint, reason text) ON COMMIT DROP")
        reasons = [refusal.reason for refusal in self._refused.values()]
        self._connection.execute(
            "INSERT INTO ingest_refused SELECT * FROM ROWS FROM (unnest(%s::bigint[]), unnest(%s::text[])) r",
            (list(self._refused), reasons),
        )
        by_field: dict[str, list[int]] = {}
        for place, refusal in sorted(self._refused.items()):
            by_field.setdefault(refusal.field, []).append(place)
        for field, places in by_field.items():
            self._fill_stage(places)
            self._rejects.reject(CODE, _REFUSED, field)
        self._fault("search: rejected")

    @property
    def _is_over(self) -> bool:
        return self._steps >= STEPS or perf_counter() > self._until

    @property
    def _is_above_limit(self) -> bool:
        return not self._state.allows_more_rejects(len(self._refused))

    def _problem(self, whole: bool) -> RefusedByTable | None:
        """Why the load fails: too many refused rows, or no end of the search; else None."""
        state = self._state
        if whole and state.allows_more_rejects(0):
            return None
        lines = self._lines()
        said = f"{'; at least ' if not whole else ''}{lines}" if lines else ""
        reasons = [refusal.reason for _, refusal in sorted(self._refused.items())]
        reason = reasons[0] if reasons else f"{kind_of(state.first_refusal)}"
        ended = "" if whole or not self._is_over else "; the search for others was ended, because it took too long"
        return RefusedByTable(
            f"{state.where}: the target refused the rows: {reason}",
            state.matched, self._rejects.records(),
            hint=f"nothing was committed; {said.removeprefix('; ') or 'no line was found'}{ended}; "
            f"see them with: ingest rejects list {state.bound.name} --code {CODE}",
        )  # fmt: skip

    def _lines(self) -> str:
        """`line 2, line 5`: the first refused rows."""
        lines = [
            line
            for (line,) in self._connection.execute(
                "SELECT _line FROM ingest_waiting WHERE _place = ANY(%s) ORDER BY _line", (list(self._refused),)
            )
        ]
        more = f" and {len(lines) - _SHOWN:,} more" if len(lines) > _SHOWN else ""
        return ", ".join(spelled_line(line) for line in lines[:_SHOWN]) + more


_REFUSED = sql.SQL(
    "SELECT w._line, r.reason FROM ingest_waiting w JOIN ingest_refused r ON r.place = w._place"
    " WHERE w._line IN (SELECT _line FROM ingest_stage)"
)


def parts_of(first: int, last: int) -> list[tuple[int, int]]:
    """The places in parts of about the same size, the first one last, so that it is taken first."""
    rows = last - first + 1
    parts = max(2, min(_PARTS, rows // _ROWS_OF_A_PART))
    starts = [first + rows * part // parts for part in range(parts + 1)]
    return [(start, after - 1) for start, after in reversed(list(pairwise(starts)))]


def circles(wants: dict[int, set[int]]) -> list[list[int]]:
    """The rows in groups: those are together that want, directly or not, what each other holds."""
    reach = {row: _reached(row, wants) for row in wants}
    groups: list[list[int]] = []
    placed: set[int] = set()
    for row in wants:
        if row in placed:
            continue
        group = [row, *sorted(other for other in reach[row] if other != row and row in reach[other])]
        groups.append(group)
        placed |= set(group)
    return groups


def _reached(start: int, wants: dict[int, set[int]]) -> set[int]:
    reached: set[int] = set()
    frontier = [start]
    while frontier:
        for row in wants[frontier.pop()]:
            if row not in reached:
                reached.add(row)
                frontier.append(row)
    return reached
