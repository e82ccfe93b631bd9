"""Matching: finds the profile of every row in the stage, for all rows at once.

A row that matches several profiles is rejected as `ambiguous_match`. Rows that share a profile are rejected as
`duplicate_match`, or all but one are superseded, as the import's `duplicates` says. Each row that is left has the key
of its profile, or of the profile that it will become. Matching writes the stage and the ledger's rejects, never
profiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

from ingest_pipelines.config.field_types import FIELD_TYPES
from ingest_pipelines.merge.match_modes import ProfileLookup, profile_lookups
from ingest_pipelines.merge.names import PROFILE_ID, key_sequence, table_name
from ingest_pipelines.merge.stage import Stage
from ingest_pipelines.merge.stage_rejects import Matched, StageRejects
from ingest_pipelines.merge.target import scalar
from ingest_pipelines.merge.versions import newest_line, version_column_of

_NAMED = sql.Literal(5)
"""How many profiles or lines a reason names."""


@dataclass(frozen=True)
class Matching:
    """The matching of one load.

    Attributes:
        rejects: takes the rows that match no profile or several out of the stage.
    """

    connection: psycopg.Connection
    stage: Stage
    rejects: StageRejects

    @property
    def matched(self) -> Matched:
        """Counts of the rows that the matching took out."""
        return self.rejects.matched

    def run(self) -> Matched:
        """Gives every row in the stage the key of its profile, or takes the row out."""
        execute, lookups = self.connection.execute, profile_lookups(self.stage)
        execute(self._candidates(lookups))
        execute("ANALYZE ingest_matches")
        self.rejects.reject("ambiguous_match", _AMBIGUOUS)
        execute("DELETE FROM ingest_matches m WHERE NOT EXISTS (SELECT FROM ingest_stage s WHERE s._line = m._line)")
        self._only_one_each(sql.SQL("SELECT _line, profile_id::text AS value FROM ingest_matches"), "match profile ")
        execute(
            "UPDATE ingest_stage AS s SET _key = m.key, _profile = m.profile_id, _consented = m.consented"
            " FROM ingest_matches m"
            " WHERE m._line = s._line"
        )
        if self.stage.bound.spec.adds:
            self._prepare_new(lookups)
        elif self.stage.bound.spec.unmatched is not None:
            self._only_one_of_new(lookups)
        execute("DROP TABLE ingest_matches")
        execute(self.stage.analyze())
        return self.matched

    def _candidates(self, lookups: tuple[ProfileLookup, ...]) -> sql.Composed:
        """The table `ingest_matches`: every profile that a row matches by any lookup, once."""
        queries = [query for place, lookup in enumerate(lookups) for query in lookup.profiles(self.stage, 1 << place)]
        return sql.SQL(
            "CREATE TEMPORARY TABLE ingest_matches (_line, profile_id, key, consented) ON COMMIT DROP AS"
            " SELECT line, profile_id, key, bit_or(consented) FROM ({}) AS found (line, profile_id, key, consented)"
            " GROUP BY line, profile_id, key"
        ).format(sql.SQL(" UNION ALL ").join(queries))

    def _prepare_new(self, lookups: tuple[ProfileLookup, ...]) -> None:
        """Rows that match no profile become new ones: no two share a value, and each gets a key that no profile has."""
        values = sql.SQL(", ").join(lookup.value for lookup in lookups)
        nothing = sql.SQL(
            "SELECT s._line, 'there is nothing to match by' AS reason FROM ingest_stage AS s"
            " WHERE s._profile IS NULL AND num_nonnulls({}) = 0"
        ).format(values)
        self.rejects.reject("missing_key", nothing)
        self._only_one_of_new(lookups)
        self._give_keys()

    def _only_one_of_new(self, lookups: tuple[ProfileLookup, ...]) -> None:
        for lookup in lookups:
            valued = sql.SQL("SELECT s._line, {}::text AS value FROM ingest_stage AS s WHERE s._profile IS NULL")
            self._only_one_each(valued.format(lookup.value), f"match no profile and have the same {lookup.label}")

    def _give_keys(self) -> None:
        database = self.stage.bound.database
        key = sql.Identifier(database.key)
        if self.stage.maps_key:
            taken = sql.SQL(
                "SELECT s._line, 'matches no profile, and profile ' || t.{} || ' has its key' AS reason"
                " FROM ingest_stage AS s JOIN {} AS t ON t.{} = s.{} WHERE s._profile IS NULL"
            ).format(sql.Identifier(PROFILE_ID), table_name(database), key, key)
            self.rejects.reject("ambiguous_match", taken)
            self.connection.execute(sql.SQL("UPDATE ingest_stage SET _key = {} WHERE _profile IS NULL").format(key))
        if database.key_default == "uuid":
            self.connection.execute("UPDATE ingest_stage SET _key = gen_random_uuid()::text WHERE _key IS NULL")
            return
        if database.key_default == "sequence":
            self._number_keys()
            return
        keyless = sql.SQL("SELECT _line, 'a new profile needs its key' AS reason FROM ingest_stage WHERE _key IS NULL")
        self.rejects.reject("missing_key", keyless)

    def _number_keys(self) -> None:
        """Numbers from the database's sequence become keys, except those that a profile or a row of the item has.

        Sources with keys of their own use numbers that the sequence reaches later, and a sequence that was reset gives
        its numbers again. A new customer with a number in use would overwrite another customer.
        """
        database, execute = self.stage.bound.database, self.connection.execute
        kind = sql.SQL(FIELD_TYPES[database.fields[database.key].type].column)
        execute(
            "CREATE TEMPORARY TABLE ingest_numbers (place bigint GENERATED ALWAYS AS IDENTITY, number bigint)"
            " ON COMMIT DROP"
        )
        free = sql.SQL(
            "WITH made AS MATERIALIZED (SELECT nextval({sequence}) AS number FROM generate_series(1, %s))"
            " INSERT INTO ingest_numbers (number) SELECT number FROM made"
            " WHERE NOT EXISTS (SELECT FROM {table} AS t WHERE t.{key} = made.number::{kind})"
            " AND NOT EXISTS (SELECT FROM ingest_stage AS s WHERE s._key = made.number::{kind}) ORDER BY number"
        ).format(
            sequence=sql.Literal(key_sequence(database).as_string()),
            table=table_name(database), key=sql.Identifier(database.key), kind=kind,
        )  # fmt: skip
        missing = wanted = scalar(self.connection, "SELECT count(*) FROM ingest_stage WHERE _key IS NULL")
        while missing > 0:
            missing -= execute(free, (wanted,)).rowcount
            wanted *= 2  # so that a million numbers in a row that are taken cost twenty looks, not a million
        execute(
            sql.SQL(
                "UPDATE ingest_stage AS s SET _key = n.number::{} FROM ingest_numbers n,"
                " (SELECT _line, row_number() OVER (ORDER BY _line) AS place FROM ingest_stage WHERE _key IS NULL) l"
                " WHERE l.place = n.place AND s._line = l._line"
            ).format(kind)
        )
        execute("DROP TABLE ingest_numbers")

    def _only_one_each(self, valued: sql.Composable, same: str) -> None:
        """Of rows that share a value all are rejected, or all but one are superseded.

        Args:
            valued: query of (line, value) rows; NULL is no value.
            same: what such rows have in common, for the reason. If it ends with a blank, the value is appended.
        """
        duplicates = self.stage.bound.spec.duplicates
        if duplicates != "reject":
            kept = newest_line(version_column_of(self.stage), duplicates)
            self.matched.superseded += self.connection.execute(
                sql.SQL(
                    "WITH valued AS ({}), shared AS (SELECT v.value, {} AS kept"
                    " FROM valued v JOIN ingest_stage AS s USING (_line)"
                    " WHERE v.value IS NOT NULL GROUP BY v.value HAVING count(*) > 1)"
                    " DELETE FROM ingest_stage AS s USING valued v JOIN shared g USING (value)"
                    " WHERE s._line = v._line AND s._line <> g.kept"
                ).format(valued, kept)
            ).rowcount
            return
        groups = sql.SQL(
            "WITH valued AS ({}), shared AS (SELECT value, array_agg(_line ORDER BY _line) AS lines FROM valued"
            " WHERE value IS NOT NULL GROUP BY value HAVING count(*) > 1)"
        ).format(valued)
        value = sql.SQL(" || value" if same.endswith(" ") else "")
        reason = sql.SQL(
            " SELECT _line, 'lines ' || array_to_string(g.lines[1:{}], ', ')"
            " || CASE WHEN cardinality(g.lines) > {} THEN ' ... ' ELSE ' ' END || {}{} AS reason"
            " FROM valued JOIN shared g USING (value)"
        ).format(_NAMED, _NAMED, sql.Literal(same), value)
        self.rejects.reject("duplicate_match", groups + reason)


_AMBIGUOUS = sql.SQL(
    "SELECT _line, 'matches several profiles: '"
    " || array_to_string((array_agg(profile_id ORDER BY profile_id))[1:{}], ', ')"
    " || CASE WHEN count(*) > {} THEN ' ...' ELSE '' END AS reason"
    " FROM ingest_matches GROUP BY _line HAVING count(*) > 1"
).format(_NAMED, _NAMED)
