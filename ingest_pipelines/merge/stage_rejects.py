"""Rejects of the merge: rows that are taken out of the stage, into the ledger's rejects, by one statement per code.

The matching rejects rows (`match`), and so does the table itself (`refused_rows`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as default

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from ingest_pipelines.config.field_types import FIELD_TYPES
from ingest_pipelines.errors import IngestError, RejectsAboveLimit, TargetRefused
from ingest_pipelines.ledger import NewReject
from ingest_pipelines.merge.match_modes import key_label, printable_key
from ingest_pipelines.merge.stage import Stage
from ingest_pipelines.model import NUL_PICTURES, RejectSample

SAMPLES = 20

KEPT = 10_000
"""How many rejects of the merge are kept for a load that is rolled back; all of them are counted."""

KEPT_BYTES = 64 << 20
"""Of how many bytes they are at most, if the first one has no more: this process holds them, and rows may be wide."""


class RejectedByMerge(IngestError):
    """The merge rejected more rows than the import allows: its rejects are rolled back, and kept with the failure.

    Attributes:
        matched: how many, and why.
        records: the rejects themselves, at most KEPT and KEPT_BYTES of them: the load's own are rolled back.
    """

    matched: Matched
    records: Sequence[NewReject]


class RejectedByMatch(RejectedByMerge, RejectsAboveLimit):
    """The matching rejected more rows than the import allows."""

    def __init__(self, problem: RejectsAboveLimit, matched: Matched, records: Sequence[NewReject]) -> None:
        super().__init__(problem.message, hint=problem.hint)
        self.matched, self.records = matched, records


class RefusedByTable(RejectedByMerge, TargetRefused):
    """The table refused more rows than the import allows to be rejected."""

    def __init__(self, message: str, matched: Matched, records: Sequence[NewReject], *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.matched, self.records = matched, records


@dataclass
class Matched:
    """Counts of the rows that the merge took out of the stage.

    Attributes:
        rejected, superseded: rows.
        codes: rejected rows per code.
    """

    rejected: int = 0
    superseded: int = 0
    codes: dict[str, int] = default(default_factory=dict)
    samples: list[RejectSample] = default(default_factory=list)


@dataclass(frozen=True)
class StageRejects:
    """Takes rejected rows out of the stage of one load.

    Attributes:
        load: the number under which the ledger keeps its rejects.
        matched: counts them.
    """

    connection: psycopg.Connection
    stage: Stage
    load: int
    matched: Matched = default(default_factory=Matched)

    def reject(self, code: str, bad: sql.Composable, field: str = "") -> None:
        """Moves rows from the stage into the ledger's rejects.

        Args:
            bad: query of (line, reason).
            field: what the reason is about; by default what identifies a row.
        """
        about = field or key_label(self.stage)
        rejected = self.connection.execute(
            sql.SQL(
                "WITH bad AS ({}), gone AS (DELETE FROM ingest_stage AS s USING bad WHERE s._line = bad._line"
                " RETURNING s._line, {} AS key, bad.reason, {} AS row),"
                " recorded AS (INSERT INTO ingest.rejects (load, line, key, field, code, reason, row)"
                " SELECT %(load)s, _line, key, %(field)s, %(code)s, reason, row FROM gone RETURNING line, key, reason)"
                " SELECT line, key, reason, count(*) OVER () FROM recorded ORDER BY line LIMIT %(samples)s"
            ).format(bad, printable_key(self.stage), self._row()),
            {"load": self.load, "field": about, "code": code, "samples": SAMPLES},
        ).fetchall()
        if not rejected:
            return
        rows = int(rejected[0][3])
        self.matched.rejected += rows
        self.matched.codes[code] = self.matched.codes.get(code, 0) + rows
        private = any(mapped.field.pii for mapped in self.stage.bound.fields)
        self.matched.samples += [
            RejectSample(line, None if private else key, about, code, reason) for line, key, reason, _ in rejected
        ]

    def records(self) -> list[NewReject]:
        """The first rejects of this load, at most KEPT and KEPT_BYTES of them, to be kept if it is rolled back."""
        with self.connection.cursor(row_factory=class_row(NewReject)) as cursor:
            return cursor.execute(
                """
                SELECT line, key, field, code, reason, row FROM (
                    SELECT *, row_number() OVER by_line AS number, sum(octet_length(row::text)) OVER by_line AS bytes
                    FROM (SELECT * FROM ingest.rejects WHERE load = %s ORDER BY line LIMIT %s) AS first
                    WINDOW by_line AS (ORDER BY line ROWS UNBOUNDED PRECEDING)) AS counted
                WHERE number = 1 OR bytes IS NULL OR bytes <= %s
                ORDER BY line
                """,
                (self.load, KEPT, KEPT_BYTES),
            ).fetchall()

    def _row(self) -> sql.Composable:
        """The source's row as JSON, from its typed cells, for a person to correct and replay."""
        bound = self.stage.bound
        by_name = {column.name: column for column in self.stage.fields}
        cells = {mapped.column: by_name[mapped.name] for mapped in bound.fields}
        cells |= {name: self.stage.unmapped(name) for name in bound.extra_columns if name not in cells}
        lists = {mapped.column for mapped in bound.fields if FIELD_TYPES[mapped.field.type].is_list}
        pairs: list[sql.Composable] = []
        for name, column in cells.items():
            text = sql.SQL("array_to_string({}, ';')" if name in lists else "to_jsonb({}) #>> '{{}}'")
            kept: sql.Composable = text.format(column.value)
            for given, picture in NUL_PICTURES.items():
                if given != "\0":  # no text of Postgres has one
                    kept = sql.SQL("replace({}, {}, {})").format(kept, sql.Literal(given), sql.Literal(picture))
            pairs.append(sql.SQL("{}, {}").format(sql.Literal(name), kept))
        return sql.SQL("json_object(ARRAY[{}]::text[])").format(sql.SQL(", ").join(pairs))
