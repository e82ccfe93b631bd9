"""Consent records: how a row's subscriptions change those of its profile. Pure builders; `write_steps` executes them.

An opt-out is kept: a status of `unsubscribed`, `complained` or `hard_bounced` changes only to another of these three,
unless the import says `resubscribe: true`. (Otherwise `unconfirmed` or `invalid` would be a first step back.)
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from ingest_pipelines.config.imports import Subscription
from ingest_pipelines.merge.changes import Changes
from ingest_pipelines.merge.names import PROFILE_ID, subscriptions_name
from ingest_pipelines.merge.stage import Stage

OPTED_OUT = ("unsubscribed", "complained", "hard_bounced")

CREATE_CONSENTS = sql.SQL(
    "CREATE TEMPORARY TABLE ingest_consents (profile_id bigint, key text, subscription text) ON COMMIT DROP"
)
"""Profiles and their changed subscriptions, for the counts and the events."""

COUNT_CONSENTED = sql.SQL(
    "SELECT count(DISTINCT profile_id) FROM ingest_consents c"
    " WHERE NOT EXISTS (SELECT FROM ingest_written w WHERE w.profile_id = c.profile_id)"
)
"""Counts profiles of which only subscriptions changed; they count as updated."""


@dataclass(frozen=True)
class Consent:
    """One subscription of an import, for all its rows."""

    changes: Changes
    subscription: Subscription

    @property
    def stage(self) -> Stage:
        """The stage with the import's rows."""
        return self.changes.stage

    def upsert(self) -> sql.Composed:
        """Adds and changes records, and notes them in `ingest_consents`; parameter `now`."""
        return sql.SQL(
            """
            WITH {given}, upserted AS (
                INSERT INTO {table} AS u (profile_id, resource, channel, contact, status, fields, updated_at)
                SELECT {profile}, {resource}, {channel}, contact, status, jsonb_strip_nulls(fields), %(now)s FROM given
                ON CONFLICT (profile_id, resource, channel, contact) DO UPDATE
                SET status = {new_status}, fields = {new_fields}, updated_at = EXCLUDED.updated_at
                WHERE ROW(u.status, u.fields) IS DISTINCT FROM ROW({new_status}, {new_fields})
                RETURNING profile_id
            )
            INSERT INTO ingest_consents
            SELECT upserted.profile_id, given.key, {name}
            FROM upserted JOIN given ON given.{profile} = upserted.profile_id
            """
        ).format(**self._parts())

    def count_due(self) -> sql.Composed:
        """Counts the records that the upsert is to write, to detect rows that a trigger of the table leaves out."""
        return sql.SQL(
            """
            WITH {given}, excluded AS (
                SELECT {profile}, contact, status, jsonb_strip_nulls(fields) AS fields FROM given
            )
            SELECT count(*) FROM excluded LEFT JOIN {table} u ON u.profile_id = excluded.{profile}
                AND u.resource = {resource} AND u.channel = {channel} AND u.contact = excluded.contact
            WHERE u.profile_id IS NULL OR ROW(u.status, u.fields) IS DISTINCT FROM ROW({new_status}, {new_fields})
            """
        ).format(**self._parts())

    def _parts(self) -> dict[str, sql.Composable]:
        database, subscription = self.stage.bound.database, self.subscription
        return {
            "given": self._given(), "profile": sql.Identifier(PROFILE_ID), "table": subscriptions_name(database),
            "resource": sql.Literal(subscription.resource), "channel": sql.Literal(subscription.channel),
            "new_status": self._new_status(), "new_fields": self._new_fields(),
            "name": sql.Literal(f"{subscription.resource}.{subscription.channel}"),
        }  # fmt: skip

    def _given(self) -> sql.Composed:
        """The CTE `given`: the consents that the rows give.

        A row without a contact or a status gives none; with `add_only`, a row whose profile existed before gives none.
        """
        only_new: sql.Composable = sql.SQL("")
        if self.stage.bound.spec.mode == "add_only":
            only_new = sql.SQL(" AND EXISTS (SELECT FROM ingest_written w WHERE w.created AND w.key = {})").format(
                self.stage.key
            )
        return sql.SQL(
            """given AS (
                SELECT t.{profile}, t.{key}::text AS key, {contact} AS contact, {status} AS status, {fields} AS fields
                FROM ingest_stage AS s JOIN {target} ON {on_key}
                WHERE {contact} IS NOT NULL AND {status} IS NOT NULL{only_new}
            )"""
        ).format(
            profile=sql.Identifier(PROFILE_ID), key=sql.Identifier(self.stage.bound.database.key),
            target=self.changes.target, on_key=self.changes.on_key, contact=self._contact(), status=self._status(),
            fields=self._fields(), only_new=only_new,
        )  # fmt: skip

    def _contact(self) -> sql.Composable:
        value = self.stage.unmapped(self.subscription.contact).value
        folded = sql.SQL("lower({})").format(value) if self.subscription.channel == "email" else value
        return sql.SQL("NULLIF(btrim({}), '')").format(folded)

    def _status(self) -> sql.Composable:
        if self.subscription.status_column is None:
            return sql.Literal(self.subscription.status)
        return sql.SQL("NULLIF(btrim({}), '')").format(self.stage.unmapped(self.subscription.status_column).value)

    def _fields(self) -> sql.Composable:
        pairs = [
            sql.SQL("{}, {}").format(sql.Literal(name), self.stage.unmapped(column).value)
            for column, name in self.subscription.fields.items()
        ]
        return sql.SQL("jsonb_build_object({})").format(sql.SQL(", ").join(pairs))

    def _new_fields(self) -> sql.Composable:
        """The record's fields after the load; an empty value of the row clears, or with `empty: keep` does not."""
        names = list(self.subscription.fields.values())
        if self.stage.bound.spec.empty == "keep" or not names:
            return sql.SQL("u.fields || EXCLUDED.fields")
        return sql.SQL("(u.fields - {}::text[]) || EXCLUDED.fields").format(sql.Literal(names))

    def _new_status(self) -> sql.Composable:
        if not self.subscription.update_status:
            return sql.SQL("u.status")
        if self.subscription.resubscribe:
            return sql.SQL("EXCLUDED.status")
        out = sql.SQL("({})").format(sql.SQL(", ").join(sql.Literal(status) for status in OPTED_OUT))
        return sql.SQL(
            "CASE WHEN u.status IN {} AND EXCLUDED.status NOT IN {} THEN u.status ELSE EXCLUDED.status END"
        ).format(out, out)
