"""An import bound to what it names: connection, database, typed fields. Design 3.3 and the limits of 4."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from pydantic import ValidationError

from ingest_pipelines.config.cleaning import NO_CLEANING, Cleaning
from ingest_pipelines.config.column_problems import Problem, cleaning_problems, spelling_problems
from ingest_pipelines.config.connections import Connection, FileConnection
from ingest_pipelines.config.databases import Database, Field, taken_name
from ingest_pipelines.config.deletion_problems import deletion_problems, set_cleanings
from ingest_pipelines.config.imports import CONTACT_CHANNELS, ColumnMapping, Import, Match
from ingest_pipelines.config.nearest import closest, nearest
from ingest_pipelines.config.placement import ALONE, Placement
from ingest_pipelines.config.unmatched_problems import unmatched_problems
from ingest_pipelines.model import ITEM_COLUMNS


@dataclass(frozen=True)
class MappedField:
    """A source column and the database field it fills.

    Attributes:
        also: other names that the column has in some files.
        cleaning: how its cells are changed before they are cast.
    """

    column: str
    name: str
    field: Field
    also: tuple[str, ...] = ()
    cleaning: Cleaning = NO_CLEANING


@dataclass(frozen=True)
class BoundImport:
    """Everything a load needs to know about one import.

    Attributes:
        fields: mapped columns in YAML order, the key's included; types and rules resolved.
        match: how a row finds its profile; None: by the key.
        extra_columns: source columns that are read as text besides the mapped ones (subscription contacts and
            statuses, the geo address, the version, a match column). In frames they are named `column:NAME`.
        placement: where its definitions are in Dagster.
        spelled: source column -> the name that it has in the item at hand, where that is another one.
        retyped: fields to which databases.yaml gives another type than they were created with -> that type, unused.
    """

    name: str
    spec: Import
    connection_name: str
    connection: Connection
    database_name: str
    database: Database
    fields: tuple[MappedField, ...]
    match: Match | None
    extra_columns: tuple[str, ...]
    placement: Placement = ALONE
    spelled: Mapping[str, str] = field(default_factory=dict)
    retyped: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> MappedField | None:
        """The mapped field that is the database's key; None where rows match by something else."""
        return next((mapped for mapped in self.fields if mapped.name == self.database.key), None)

    @property
    def required_columns(self) -> tuple[str, ...]:
        """Source columns without which an item is refused."""
        mapped_columns = (mapped.column for mapped in self.fields if mapped.cleaning.constant is None)
        return tuple(column for column in (*mapped_columns, *self.extra_columns) if column not in self.item_columns)

    @property
    def item_columns(self) -> tuple[str, ...]:
        """Those of ITEM_COLUMNS that are mapped: they are no columns of the source."""
        return tuple(mapped.column for mapped in self.fields if mapped.column in ITEM_COLUMNS)

    @property
    def spellings(self) -> dict[str, tuple[str, ...]]:
        """Mapped column -> its other names; one of them all must be in a file's header, and only one."""
        return {mapped.column: mapped.also for mapped in self.fields if mapped.column in self.required_columns}

    def spelled_as(self, header: Collection[str]) -> BoundImport:
        """The import for an item with this header: its columns are read under the names that they have there."""
        spelled = {
            column: next(name for name in also if name in header)
            for column, also in self.spellings.items()
            if column not in header and not set(also).isdisjoint(header)
        }
        return replace(self, spelled=spelled) if spelled else self

    def in_item(self, column: str) -> str:
        """The column's name in the item at hand."""
        return self.spelled.get(column, column)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups of people who may see it in the studio; () is everybody."""
        return self.database.groups if self.spec.groups is None else self.spec.groups

    @property
    def reads_files(self) -> bool:
        """Whether items are files, not queries."""
        return isinstance(self.connection, FileConnection)

    @property
    def one_time(self) -> bool:
        """Whether its files are loaded on demand only, never by a schedule or a sensor."""
        return isinstance(self.connection, FileConnection) and self.connection.one_time

    @property
    def settle(self) -> timedelta:
        """How long a file must be unchanged before it is loaded."""
        usual = self.connection.settle if isinstance(self.connection, FileConnection) else timedelta(0)
        return self.spec.source.settle or usual

    @property
    def asset_name(self) -> str:
        """Name of the import's graph in Dagster."""
        return "__".join((*self.placement.key_prefix, self.database_name, self.name))


@dataclass(frozen=True)
class Filled:
    """A field that an import fills: its type, and the first import that gives it that type."""

    type_name: str
    by: str


def type_conflicts(bound: BoundImport, filled: Mapping[str, Filled]) -> list[Problem]:
    """Fields that have another type in the ledger, in databases.yaml, or in an import that was read before."""
    problems: list[Problem] = []
    for mapped in bound.fields:
        declared = bound.database.fields.get(mapped.name)
        known = filled.get(mapped.name) or (Filled(declared.type_name, "") if declared is not None else None)
        if known is None or known.type_name == mapped.field.type_name:
            continue
        there = f"in imports/{known.by}.yaml" if known.by else "in databases.yaml"
        there = "since this import's first load" if known.by == bound.name else there
        what = f"'{mapped.name}' is {known.type_name} {there} and {mapped.field.type_name} here"
        problems.append((("columns", mapped.column), f"columns.{mapped.column}: {what}; a field's type can't change"))
    return problems


def bind(
    name: str,
    spec: Import,
    connections: Mapping[str, Connection],
    databases: Mapping[str, Database],
    filled: Mapping[str, Mapping[str, Filled]],
) -> tuple[BoundImport | None, list[Problem]]:
    """The import with its names resolved, or the problems that keep it from being used.

    Args:
        filled: per database the fields that imports bound before this one fill; they count for max_fields.
    """
    problems: list[Problem] = []
    connection = connections.get(spec.source.connection)
    database = databases.get(spec.database)
    if connection is None:
        problems.append(
            (("source", "connection"), f"source.connection: {_unknown(spec.source.connection, connections)}")
        )
    if database is None:
        problems.append((("database",), f"database: {_unknown(spec.database, databases)}"))
    if database is None:
        return None, problems
    fields: list[MappedField] = []
    for column, target in spec.columns.items():
        mapped, problem = map_column(column, target, database)
        if problem:
            problems.append((("columns", column), f"columns.{column}: {problem}"))
        if mapped:
            fields.append(mapped)
    for column, field_name, cleaning in set_cleanings(spec, database):
        fields.append(MappedField(column, field_name, database.fields[field_name], cleaning=cleaning))
    if connection is None:
        return None, problems
    match = _match(spec, database)
    bound = BoundImport(
        name, spec, spec.source.connection, connection, spec.database, database, tuple(fields), match,
        tuple(dict.fromkeys(_extra_columns(spec, match))),
    )  # fmt: skip
    problems += _source_problems(bound)
    problems += spelling_problems(bound)
    problems += cleaning_problems(bound)
    problems += _mapping_problems(bound, filled.get(bound.database_name, {}))
    problems += _match_problems(bound)
    problems += deletion_problems(bound)
    problems += _consent_problems(bound)
    problems += unmatched_problems(bound)
    return bound, problems


def _unknown(name: str, known: Mapping[str, object]) -> str:
    return f"there is no '{name}'; {nearest(name, known)}"


def _untyped(name: str, database: Database) -> str:
    close = closest(name, database.fields)
    meant = f"did you mean '{close}'? A new field needs a type" if close else "give its type"
    return f"'{name}' is not a field of the database; {meant}: {{field: {name}, type: string}}"


def map_column(column: str, target: str | ColumnMapping, database: Database) -> tuple[MappedField | None, str]:
    """The column as a field, or what is wrong with it. A type of its own wins: `type_conflicts` compares it."""
    name = target if isinstance(target, str) else target.field
    known = database.fields.get(name)
    if isinstance(target, str):
        if known is None:
            return None, _untyped(name, database)
        return MappedField(column, name, known), ""
    if known is None and target.type is None:
        return None, _untyped(name, database)
    if known is not None and target.type is not None and target.type_name != known.type_name:
        known = None  # its rules are of another type
    try:
        layers = (target,) if known is None else (known, target)
        return MappedField(column, name, Field.from_rules(*layers), target.also, target.cleaning), ""
    except ValidationError as error:
        return None, str(error.errors()[0]["msg"]).removeprefix("Value error, ")


def _match(spec: Import, database: Database) -> Match | None:
    if spec.match is None or spec.match == database.key:
        return None
    if isinstance(spec.match, Match):
        by_key = spec.match.by == "field" and spec.match.field == database.key
        return None if by_key else spec.match
    if spec.match in {"profile_id", "push"} or spec.match.startswith(("email", "phone")):
        return Match.model_validate({"by": spec.match})
    return Match(by="field", field=spec.match)


def _extra_columns(spec: Import, match: Match | None) -> Iterator[str]:
    for subscription in spec.subscriptions:
        yield subscription.contact
        if subscription.status_column is not None:
            yield subscription.status_column
        yield from subscription.fields
    if spec.geo is not None:
        yield spec.geo.ip
    if spec.version is not None:
        yield spec.version
    if match is not None and match.column is not None:
        yield match.column


def _source_problems(bound: BoundImport) -> Iterator[Problem]:
    source, kind = bound.spec.source, bound.connection.type
    if bound.reads_files:
        if source.query is not None or source.table is not None:
            yield (
                ("source",),
                f"source: a {kind} connection delivers files, not queries or tables; give file: Folder/Name",
            )
        elif source.file is None and not bound.one_time:
            yield ("source",), f"source: a {kind} connection delivers files; give file: Folder/Name"
        receipt = bound.spec.receipt
        if receipt is not None and receipt.folder.strip("/") == (source.file or "").strip("/").rpartition("/")[0]:
            yield ("receipt",), "receipt.folder: is the folder of the files themselves; give another one"
        if bound.spec.after:
            yield ("after",), "after: goes with a query or a table; files are loaded when they arrive"
        if bound.one_time and (bound.spec.schedule is not None or bound.spec.sensor is not None):
            yield (
                ("schedule",),
                f"schedule: uploads ({kind}) are one-time imports; run: ingest run {bound.name} --file F",
            )
    else:
        if source.file is not None:
            yield ("source", "file"), f"source.file: a {kind} connection takes a query or a table, not a file"
        elif source.query is None and source.table is None:
            yield ("source",), "source: give query: SELECT ... or table: schema.table"
        if bound.spec.receipt is not None:
            yield ("receipt",), "receipt: answers the sender of a file; a query has none"
        if bound.spec.sensor is not None:
            yield ("sensor",), "sensor: sensors watch for files; give a query import a schedule, or after: ASSET"


def _mapping_problems(bound: BoundImport, filled: Mapping[str, Filled]) -> Iterator[Problem]:
    database, spec = bound.database, bound.spec
    by_field: dict[str, str] = {}
    for mapped in bound.fields:
        where = ("columns", mapped.column)
        if mapped.name in by_field:
            yield where, f"columns.{mapped.column}: '{mapped.name}' is already filled from {by_field[mapped.name]}"
        by_field.setdefault(mapped.name, mapped.column)
        if mapped.name in database.reserved:
            yield (
                where,
                f"columns.{mapped.column}: '{mapped.name}' is reserved in databases.yaml; choose another field name",
            )
        if problem := taken_name(mapped.name):
            yield where, f"columns.{mapped.column}: {problem}"
    attributes = [mapped for mapped in bound.fields if mapped.name != database.key]
    if len(attributes) > database.max_fields_per_import:
        yield (
            ("columns",),
            (
                f"columns: {len(attributes)} fields besides the key, and max_fields_per_import is "
                f"{database.max_fields_per_import}; split the import by subject, or raise the limit in databases.yaml"
            ),
        )
    every = {*database.fields, *by_field, *filled}
    if len(every) > database.max_fields:
        yield (
            ("columns",),
            (
                f"columns: with this import '{bound.database_name}' has {len(every)} fields, "
                f"and max_fields is {database.max_fields}"
            ),
        )
    if bound.match is None and bound.key is None:
        yield ("columns",), f"columns: one column must be mapped to the match key '{database.key}'"
    if not attributes and bound.spec.mode == "update_only" and not spec.subscriptions and spec.geo is None:
        yield ("columns",), "columns: update_only with nothing but the key changes nothing; map another column"


def _match_problems(bound: BoundImport) -> Iterator[Problem]:
    match, spec = bound.match, bound.spec
    if match is None:
        return
    names = {mapped.name for mapped in bound.fields}
    if match.by == "profile_id":
        if spec.adds:
            yield ("match",), "match: profile_id finds existing profiles only; it needs mode: update_only"
        if match.column is None:
            yield ("match",), "match: profile_id needs the source column: {by: profile_id, column: ProfileId}"
    if match.by == "field" and match.field not in names:
        yield ("match",), f"match: one column must be mapped to the match field '{match.field}'"
    if match.by in {"push", "channel"} and match.column is None:
        yield (
            ("match",),
            f"match: by {match.by} needs the source column with the contact: {{by: {match.by}, column: ...}}",
        )
    types = {mapped.field.type for mapped in bound.fields}
    if match.by.startswith("email_or_phone"):
        if match.column is None and not types & {"email", "phone"}:
            yield ("match",), "match: no column is mapped to a field of type email or phone; map one of them"
    elif match.by.startswith("email") and match.column is None and "email" not in types:
        yield ("match",), "match: no column is mapped to a field of type email; map one, or name it in match.column"
    if match.by.startswith("phone") and match.column is None and "phone" not in types:
        yield ("match",), "match: no column is mapped to a field of type phone; map one, or name it in match.column"
    adds = spec.adds
    if adds and bound.key is None and bound.database.key_default is None:
        yield (
            ("match",),
            (
                f"match: rows without '{bound.database.key}' can't be added; map it, use mode: update_only, "
                "or give the database key_default: uuid"
            ),
        )
    if adds:
        yield from _lost_matches(bound, match)


def _lost_matches(bound: BoundImport, match: Match) -> Iterator[Problem]:
    """Rows must match customers by a value that a load also stores; else each delivery adds the same ones again."""
    if match.by in {"profile_id", "field"}:
        return
    place = match.by.rpartition("_")[2] if "_" in match.by else ""
    kinds = [kind for kind in ("email", "phone") if kind in match.by] or [match.channel or match.by]
    for kind in kinds:
        filled = [mapped.column for mapped in bound.fields if mapped.field.type == kind]
        column = match.column if match.column is not None and kind == kinds[0] else next(iter(filled), None)
        if column is None:
            continue
        channels = (match.channel,) if match.by == "channel" else CONTACT_CHANNELS[kind]
        told = any(each.contact == column and each.channel in channels for each in bound.spec.subscriptions)
        in_profile = place != "subscription" and kind in {"email", "phone"} and column in filled
        in_consent = place != "profile" and told
        if not (in_profile or in_consent):
            keep = f"map '{column}' to a field of type {kind}" if kind in {"email", "phone"} else ""
            subscribe = f"add a subscription with contact: {column}"
            ways = {"profile": [keep], "subscription": [subscribe]}.get(place, [keep, subscribe])
            yield (
                ("match",),
                f"match: a customer added by '{column}' is not found by it next time, and would be added again; "
                + ", or ".join(filter(None, [*ways, "use mode: update_only"])),
            )


def _consent_problems(bound: BoundImport) -> Iterator[Problem]:
    for index, subscription in enumerate(bound.spec.subscriptions):
        where = ("subscriptions", index)
        resource = bound.database.resources.get(subscription.resource)
        if resource is None:
            yield where, f"subscriptions.{index}.resource: {_unknown(subscription.resource, bound.database.resources)}"
        elif subscription.channel not in resource.channels:
            yield (
                where,
                (
                    f"subscriptions.{index}.channel: '{subscription.resource}' has no channel {subscription.channel}; "
                    f"it has {', '.join(resource.channels)}"
                ),
            )
    if bound.spec.geo is not None:
        known = {**bound.database.fields, **{mapped.name: mapped.field for mapped in bound.fields}}
        for key in ("country", "region", "city"):
            name = getattr(bound.spec.geo, key)
            if name is not None and name not in known:
                yield ("geo", key), f"geo.{key}: '{name}' is not a field of the database"
            elif name is not None and known[name].type != "string":
                yield ("geo", key), f"geo.{key}: '{name}' must be of type string"
