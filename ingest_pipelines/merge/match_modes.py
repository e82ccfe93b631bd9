"""The match modes: each is one or two lookups, from a stage column to the profiles that have its value. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from psycopg import sql

from ingest_pipelines.config.field_types import FIELD_TYPES
from ingest_pipelines.config.imports import CONTACT_CHANNELS, MatchMode
from ingest_pipelines.merge.names import PROFILE_ID, subscriptions_name, table_name
from ingest_pipelines.merge.stage import Stage, StageColumn
from ingest_pipelines.model import LINE


@dataclass(frozen=True)
class ProfileLookup:
    """How profiles are looked up by a value in the stage.

    Attributes:
        label: the value's name, for messages and for the `field` of a reject.
        value: an expression over the stage `s`; NULL where the row has no value.
        fields: profile fields that may hold the value.
        channels: subscription channels whose contact it may be.
        folded: compared in lower case, as addresses are.
    """

    label: str
    value: sql.Composable
    fields: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    folded: bool = False

    def profiles(self, stage: Stage, bit: int) -> Iterator[sql.Composed]:
        """Queries of (line, profile_id, key, consented): every profile that has a row's value.

        Args:
            bit: the value of `consented` where the value is a consent's contact; else it is 0.
        """
        database = stage.bound.database
        places = (sql.Identifier(LINE), sql.Identifier(PROFILE_ID), sql.Identifier(database.key))
        start = sql.SQL("SELECT s.{}, t.{}, t.{}, {} FROM ingest_stage AS s ")
        for name in self.fields:
            yield start.format(*places, sql.Literal(0)) + sql.SQL("JOIN {} AS t ON {} = {}").format(
                table_name(database), self._folded(sql.SQL("t.{}").format(sql.Identifier(name))), self.value
            )
        if self.channels:
            yield start.format(*places, sql.Literal(bit)) + sql.SQL(
                "JOIN {} AS u ON u.channel = ANY({}) AND u.contact = {} JOIN {} AS t ON t.{} = u.{}"
            ).format(
                subscriptions_name(database), sql.Literal(list(self.channels)), self.value, table_name(database),
                sql.Identifier(PROFILE_ID), sql.Identifier(PROFILE_ID),
            )  # fmt: skip

    def indexed(self, name: str) -> sql.Composable:
        """The expression that an index on the field must have for this lookup to be fast."""
        return self._folded(sql.Identifier(name))

    def _folded(self, value: sql.Composable) -> sql.Composable:
        return sql.SQL("lower({})").format(value) if self.folded else value


def profile_lookups(stage: Stage) -> tuple[ProfileLookup, ...]:
    """The lookups of the import's match mode; none where rows match by the plain key."""
    match = stage.bound.match
    if match is not None:
        return tuple(_MODES[match.by](stage))
    key = stage.bound.database.key
    return tuple(_field(stage, key)) if stage.matches else ()


def matched_contacts(stage: Stage) -> dict[str, int]:
    """The fields that hold a contact by which rows are matched, each with the bit of its lookup.

    Rows carry such a contact to be found, and not to change it: see `Changes.after`.
    """
    match = stage.bound.match
    if match is None or match.by in {"profile_id", "field"}:
        return {}
    return {
        mapped.name: 1 << place
        for place, lookup in enumerate(profile_lookups(stage))
        for mapped in stage.bound.fields
        if lookup.label == (mapped.name if match.column is None or place else mapped.column)
    }


def key_label(stage: Stage) -> str:
    """The name of what identifies a row, for the `field` of a reject: the key, or the value of the first lookup."""
    lookups = profile_lookups(stage)
    return lookups[0].label if lookups else stage.bound.database.key


def printable_key(stage: Stage) -> sql.Composable:
    """What identifies a row, as text for people: an expression over the stage `s`."""
    values = [sql.SQL("{}::text").format(lookup.value) for lookup in profile_lookups(stage)]
    if stage.maps_key:
        key = sql.Identifier("s", stage.bound.database.key)
        values.insert(0, sql.SQL("{}::text").format(key))
    return sql.SQL("COALESCE({})").format(sql.SQL(", ").join(values))


def _profile_id(stage: Stage) -> Iterator[ProfileLookup]:
    column = _named(stage)
    yield ProfileLookup(PROFILE_ID, sql.SQL("{}::bigint").format(column.value), fields=(PROFILE_ID,))


def _field(stage: Stage, name: str | None = None) -> Iterator[ProfileLookup]:
    match = stage.bound.match
    name = name or (match.field if match else None)
    column = next(column for column in stage.fields if column.name == name)
    folded = next(FIELD_TYPES[mapped.field.type].ignores_case for mapped in stage.bound.fields if mapped.name == name)
    yield ProfileLookup(
        column.name, _fold(column.value) if folded else column.value, fields=(column.name,), folded=folded
    )


def _email_profile(stage: Stage) -> Iterator[ProfileLookup]:
    label, value = _contact(stage, "email")
    yield ProfileLookup(label, value, fields=_holders(stage, "email"), folded=True)


def _email_subscription(stage: Stage) -> Iterator[ProfileLookup]:
    label, value = _contact(stage, "email")
    yield ProfileLookup(label, value, channels=CONTACT_CHANNELS["email"])


def _phone_profile(stage: Stage) -> Iterator[ProfileLookup]:
    label, value = _contact(stage, "phone")
    yield ProfileLookup(label, value, fields=_holders(stage, "phone"))


def _phone_subscription(stage: Stage) -> Iterator[ProfileLookup]:
    label, value = _contact(stage, "phone")
    yield ProfileLookup(label, value, channels=CONTACT_CHANNELS["phone"])


def _email(stage: Stage) -> Iterator[ProfileLookup]:
    label, value = _contact(stage, "email")
    yield ProfileLookup(label, value, fields=_holders(stage, "email"), channels=CONTACT_CHANNELS["email"], folded=True)


def _phone(stage: Stage) -> Iterator[ProfileLookup]:
    label, value = _contact(stage, "phone")
    yield ProfileLookup(label, value, fields=_holders(stage, "phone"), channels=CONTACT_CHANNELS["phone"])


def _push(stage: Stage) -> Iterator[ProfileLookup]:
    column = _named(stage)
    yield ProfileLookup(_label(column), _value(column), channels=CONTACT_CHANNELS["push"])


def _channel(stage: Stage) -> Iterator[ProfileLookup]:
    match = stage.bound.match
    assert match is not None
    assert match.channel is not None
    column = _named(stage)
    value = _fold(column.value) if match.channel == "email" else _value(column)
    yield ProfileLookup(_label(column), value, channels=(match.channel,))


def _email_or_phone_profile(stage: Stage) -> Iterator[ProfileLookup]:
    if _has_contact(stage, "email"):
        yield from _email_profile(stage)
    if _has_field(stage, "phone"):
        yield from _phone_profile_by_field(stage)


def _email_or_phone_subscription(stage: Stage) -> Iterator[ProfileLookup]:
    if _has_contact(stage, "email"):
        yield from _email_subscription(stage)
    if _has_field(stage, "phone"):
        column = _mapped(stage, "phone")
        yield ProfileLookup(column.name, column.value, channels=CONTACT_CHANNELS["phone"])


def _phone_profile_by_field(stage: Stage) -> Iterator[ProfileLookup]:
    column = _mapped(stage, "phone")
    yield ProfileLookup(column.name, column.value, fields=_holders(stage, "phone"))


_MODES: Mapping[MatchMode, Callable[[Stage], Iterator[ProfileLookup]]] = {
    "profile_id": _profile_id,
    "field": _field,
    "email": _email,
    "email_profile": _email_profile,
    "email_subscription": _email_subscription,
    "phone": _phone,
    "phone_profile": _phone_profile,
    "phone_subscription": _phone_subscription,
    "push": _push,
    "channel": _channel,
    "email_or_phone_profile": _email_or_phone_profile,
    "email_or_phone_subscription": _email_or_phone_subscription,
}


def _named(stage: Stage) -> StageColumn:
    """The source column that the match names."""
    match = stage.bound.match
    assert match is not None
    assert match.column is not None
    return stage.unmapped(match.column)


def _contact(stage: Stage, kind: str) -> tuple[str, sql.Composable]:
    """Label and value of an address or a number: of the column that the match names, else of the field of that type."""
    match = stage.bound.match
    assert match is not None
    column = _named(stage) if match.column is not None else _mapped(stage, kind)
    return _label(column), _fold(column.value) if kind == "email" else _value(column)


def _has_contact(stage: Stage, kind: str) -> bool:
    """Whether rows bring the contact: in the column that the match names, or in a field."""
    match = stage.bound.match
    return (match is not None and match.column is not None) or _has_field(stage, kind)


def _has_field(stage: Stage, kind: str) -> bool:
    return any(mapped.field.type == kind for mapped in stage.bound.fields)


def _mapped(stage: Stage, kind: str) -> StageColumn:
    name = next(mapped.name for mapped in stage.bound.fields if mapped.field.type == kind)
    return next(column for column in stage.fields if column.name == name)


def _holders(stage: Stage, kind: str) -> tuple[str, ...]:
    """The profile fields to compare with: the one that the value fills, else all of that type."""
    match = stage.bound.match
    if match is None or match.column is None:
        return (_mapped(stage, kind).name,)
    return tuple(name for name, field in stage.bound.database.fields.items() if field.type == kind)


def _label(column: StageColumn) -> str:
    return column.frame.removeprefix("column:")


def _value(column: StageColumn) -> sql.Composable:
    """The text without blanks around it; NULL where it is empty."""
    return sql.SQL("NULLIF(btrim({}), '')").format(column.value)


def _fold(value: sql.Composable) -> sql.Composable:
    return sql.SQL("NULLIF(lower(btrim({})), '')").format(value)
