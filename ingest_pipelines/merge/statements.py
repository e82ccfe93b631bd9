"""The statements that write profiles. Pure builders; `write_steps` executes them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg import sql

from ingest_pipelines.merge.changes import Changes
from ingest_pipelines.merge.match_modes import printable_key
from ingest_pipelines.merge.names import CHANGED_AT, PROFILE_ID, comma, history_name
from ingest_pipelines.merge.stage import StageColumn
from ingest_pipelines.merge.versions import is_older, version_column_of
from ingest_pipelines.model import LINE


@dataclass(frozen=True)
class Merge(Changes):
    """The statements of one load's merge.

    Attributes:
        changed_at: when the load changes profiles, for a database with a history.
    """

    changed_at: datetime | None = None

    def statement(self, returning: sql.Composable | None = None) -> sql.Composed:
        """MERGE of the stage into the target."""
        parts: list[sql.Composable] = [
            sql.SQL("MERGE INTO {} USING ingest_stage AS s ON {}").format(self.target, self.on_key)
        ]
        if self.updates:
            assignments = sql.SQL(", ").join(
                [
                    *(
                        sql.SQL("{} = {}").format(sql.Identifier(column.into), self.after(column))
                        for column in self.written
                    ),
                    *([sql.SQL("{} = {}").format(sql.Identifier(CHANGED_AT), self.since)] if self.changed_at else []),
                ]
            )
            parts.append(sql.SQL("WHEN MATCHED AND {} THEN UPDATE SET {}").format(self.differs, assignments))
        if self.adds:
            columns = [self.stage.bound.database.key, *(column.into for column in self.written)]
            values = [self.stage.key, *(column.value for column in self.written)]
            parts.append(
                sql.SQL("WHEN NOT MATCHED THEN INSERT ({}) VALUES ({})").format(
                    comma(columns), sql.SQL(", ").join(values)
                )
            )
        if len(parts) == 1:
            parts.append(sql.SQL("WHEN MATCHED THEN DO NOTHING"))
        if returning is not None:
            parts.append(sql.SQL("RETURNING {}").format(returning))
        return sql.SQL(" ").join(parts)

    def create_written(self) -> sql.Composed:
        """`ingest_written`: number, key, whether new, and which fields change, of every profile that is written."""
        return sql.SQL(
            "CREATE TEMPORARY TABLE ingest_written ON COMMIT DROP AS "
            "SELECT false AS created, t.{} AS profile_id, t.{} AS key, {} FROM {} WITH NO DATA"
        ).format(
            sql.Identifier(PROFILE_ID), sql.Identifier(self.stage.bound.database.key), self._no_changes,
            self.target,
        )  # fmt: skip

    @property
    def _no_changes(self) -> sql.Composed:
        return sql.SQL(", ").join(sql.SQL("0::bigint AS {}").format(sql.Identifier(mask)) for mask in self.masks)

    def keep_written(self, *, returns_old: bool) -> sql.Composed:
        """Fills `ingest_written`; returns how many profiles are written, and how many of them are new.

        Args:
            returns_old: the MERGE itself returns old and new values, from Postgres 18 on. Else a query computes before
                the MERGE what it is going to do, and `number_created` adds the numbers afterwards.
        """
        written = self._returning_changes() if returns_old else self._coming_changes()
        kept = comma(["created", "profile_id", "key", *self.masks])
        return sql.SQL(
            "WITH written AS ({}),"
            " kept AS (INSERT INTO ingest_written ({}) SELECT {} FROM written RETURNING created){} "
            "SELECT count(*), count(*) FILTER (WHERE created) FROM kept"
        ).format(written, kept, kept, self._past() if self.changed_at else sql.SQL(""))

    def keep_past(self) -> sql.Composed:
        """The MERGE where only old values are kept; returns what `keep_written` returns. From Postgres 18 on."""
        return sql.SQL("WITH written AS ({}){} SELECT count(*), count(*) FILTER (WHERE created) FROM written").format(
            self._returning(sql.SQL("")), self._past()
        )

    @property
    def since(self) -> sql.Composed:
        """When the profile changes: now, but not before its last change, by whatever clock that was."""
        return sql.SQL("GREATEST({}, t.{})").format(sql.Literal(self.changed_at), sql.Identifier(CHANGED_AT))

    def keep_old(self, fields: list[str], which: sql.Composable) -> sql.Composed:
        """Keeps the old values of these fields, of profiles `t` that are about to change."""
        return sql.SQL(
            "INSERT INTO {} (profile_id, valid_from, valid_to, old) SELECT t.{}, t.{}, {},"
            " (SELECT jsonb_object_agg(o.key, o.value) FROM jsonb_each(to_jsonb(t)) o WHERE o.key = ANY({}))"
            " FROM {} WHERE {}"
        ).format(
            history_name(self.stage.bound.database), sql.Identifier(PROFILE_ID), sql.Identifier(CHANGED_AT),
            self.since, sql.Literal(fields), self.target, which,
        )  # fmt: skip

    def _past(self) -> sql.Composed:
        """A CTE that keeps the old values of profiles that change."""
        return sql.SQL(
            ", past AS (INSERT INTO {} (profile_id, valid_from, valid_to, old)"
            " SELECT profile_id, valid_from, valid_to, old FROM written WHERE NOT created)"
        ).format(history_name(self.stage.bound.database))

    def _old(
        self, created: sql.Composable, valid_from: sql.Composable, valid_to: sql.Composable, values: sql.Composable
    ) -> sql.Composable:
        """The columns of `written` that only a history needs."""
        if not self.changed_at:
            return sql.SQL("")
        return sql.SQL(", {} AS valid_from, {} AS valid_to, CASE WHEN {} THEN NULL ELSE {} END AS old").format(
            valid_from, valid_to, created, values
        )

    def _coming_changes(self) -> sql.Composed:
        new = self._is_new
        past = self._old(new, sql.Identifier("t", CHANGED_AT), self.since, self.old_values(_matched, self.after))
        return sql.SQL("SELECT {} AS created, t.{} AS profile_id, {} AS key, {}{} {}").format(
            new, sql.Identifier(PROFILE_ID), self.stage.key, self.mask_columns(new, _matched, self.after), past,
            self._to_write(),
        )  # fmt: skip

    def count_to_write(self) -> sql.Composed:
        """How many profiles the MERGE is about to write."""
        return sql.SQL("SELECT count(*) {}").format(self._to_write())

    @property
    def _is_new(self) -> sql.Composed:
        return sql.SQL("t.{} IS NULL").format(sql.Identifier(self.stage.bound.database.key))

    def _to_write(self) -> sql.Composed:
        """FROM and WHERE: the rows that the MERGE is about to write, beside their profiles."""
        conditions: list[sql.Composable] = [self._is_new] if self.adds else []
        if self.updates:
            conditions.append(sql.SQL("NOT {} AND {}").format(self._is_new, self.differs))
        return sql.SQL("FROM ingest_stage AS s LEFT JOIN {} ON {} WHERE {}").format(
            self.target, self.on_key,
            sql.SQL(" OR ").join(sql.SQL("({})").format(condition) for condition in conditions or [sql.SQL("false")]),
        )  # fmt: skip

    def _returning_changes(self) -> sql.Composed:
        changes = self.mask_columns(self._was_inserted, _before, _after)
        key = sql.Identifier("new", self.stage.bound.database.key)
        return self._returning(sql.SQL(", {} AS key, {}").format(key, changes))

    @property
    def _was_inserted(self) -> sql.Composed:
        return sql.SQL("{} IS NULL").format(sql.Identifier("old", self.stage.bound.database.key))

    def _returning(self, more: sql.Composable) -> sql.Composed:
        """The MERGE, which returns of each profile: whether it is new, its number, its past if that is kept, more."""
        past = self._old(
            self._was_inserted, sql.Identifier("old", CHANGED_AT), sql.Identifier("new", CHANGED_AT),
            self.old_values(_before, _after),
        )  # fmt: skip
        return self.statement(
            sql.SQL("{} AS created, {} AS profile_id{}{}").format(
                self._was_inserted, sql.Identifier("new", PROFILE_ID), more, past
            )
        )

    def number_created(self) -> sql.Composed:
        """Adds the numbers of the profiles that the MERGE inserted."""
        return sql.SQL(
            "UPDATE ingest_written AS w SET profile_id = t.{} FROM {} WHERE w.created AND t.{} = w.key"
        ).format(sql.Identifier(PROFILE_ID), self.target, sql.Identifier(self.stage.bound.database.key))

    def drop_stale(self) -> sql.Composed | None:
        """Deletes rows from the stage that are older than the profile they match; None without a version."""
        column = version_column_of(self.stage)
        if column is None or column.name == self.stage.bound.database.key:  # the key is never older than itself
            return None
        old = sql.Identifier("t", column.into)
        return sql.SQL("DELETE FROM ingest_stage AS s USING {} WHERE {} AND {} IS NOT NULL AND {}").format(
            self.target, self.on_key, old, is_older(column, column.value, old)
        )

    def find_unmatched(self) -> sql.Composed:
        """Counts and sums rows without a profile, and keeps the first of them; parameter: how many to keep."""
        return sql.SQL(
            "WITH unmatched AS MATERIALIZED (SELECT s.{} AS line, {} AS key FROM ingest_stage AS s "
            "WHERE NOT EXISTS (SELECT FROM {} WHERE {})), "
            "kept AS (INSERT INTO ingest_unmatched SELECT line, key FROM unmatched ORDER BY line LIMIT %s) "
            "SELECT {}, pg_current_snapshot()::text FROM unmatched"
        ).format(sql.Identifier(LINE), printable_key(self.stage), self.target, self.on_key, _COUNT_LINES)

    def count_unmatched(self) -> sql.Composed:
        """Count and sum of the rows without a profile, as `find_unmatched` has them."""
        return sql.SQL(
            "SELECT {} FROM (SELECT s.{} AS line FROM ingest_stage AS s"
            " WHERE NOT EXISTS (SELECT FROM {} WHERE {})) AS unmatched"
        ).format(_COUNT_LINES, sql.Identifier(LINE), self.target, self.on_key)


def _before(column: StageColumn) -> sql.Identifier:
    """The column as RETURNING has it before the MERGE."""
    return sql.Identifier("old", column.into)


def _after(column: StageColumn) -> sql.Identifier:
    """The column as RETURNING has it after the MERGE."""
    return sql.Identifier("new", column.into)


def _matched(column: StageColumn) -> sql.Identifier:
    """The column of the profile that a row of the stage matches."""
    return sql.Identifier("t", column.into)


_COUNT_LINES = sql.SQL("count(*), COALESCE(sum(hashint8(line)), 0)::bigint")

SNAPSHOT = sql.SQL("SELECT pg_current_snapshot()::text")
"""The same text twice: no transaction that wrote anything has committed between."""

CREATE_UNMATCHED = sql.SQL("CREATE TEMPORARY TABLE ingest_unmatched (line bigint, key text) ON COMMIT DROP")
"""The first rows without a profile, of each merge."""

LIST_UNMATCHED = sql.SQL(
    "INSERT INTO ingest.rejects (load, line, key, field, code, reason) "
    "SELECT %s, line, key, %s, 'unmatched', 'there is no profile for this row' "
    "FROM ingest_unmatched ORDER BY line LIMIT %s"
)
"""Lists the first rows without a profile in the ledger; parameters: load, field, and how many."""
