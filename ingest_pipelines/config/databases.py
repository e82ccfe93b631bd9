"""`databases.yaml`: profile databases and their typed fields; design 3.2 and 4.1."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, StrictBool, StrictStr, WithJsonSchema, field_validator, model_validator
from pydantic import Field as Key
from pydantic.json_schema import SkipJsonSchema

from ingest_pipelines.config.base import Duration, Group, LocalPath, Name, Strict, spelled
from ingest_pipelines.config.blanks import trimmed
from ingest_pipelines.config.field_types import FIELD_TYPES, spells
from ingest_pipelines.config.nearest import nearest
from ingest_pipelines.config.notify import Notify
from ingest_pipelines.config.spellings import pattern_mistake
from ingest_pipelines.config.time_patterns import format_mistake

if TYPE_CHECKING:
    FieldType = str
else:
    FieldType = Literal[tuple(FIELD_TYPES)]
Channel = Literal["email", "sms", "push", "whatsapp", "viber", "telegram", "web_push"]

TypeName = Annotated[
    FieldType,
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": [name for name in FIELD_TYPES if name != "decimal"]},
                {"type": "string", "pattern": r"^decimal\(\d{1,2}, ?\d{1,2}\)$"},
            ],
            "description": "string, int, decimal(12,2), date ... see docs/rules.md",
        }
    ),
]
UUID_LENGTH = 36

_REGION_PATTERN = "^[A-Z]{2}$"
Region = Annotated[
    str,
    AfterValidator(spelled(_REGION_PATTERN, "two capital letters of a country, such as DE")),
    WithJsonSchema({"type": "string", "pattern": _REGION_PATTERN}),
]
_TABLE_PATTERN = r"^([A-Za-z_][A-Za-z0-9_]{0,62}\.)?[A-Za-z_][A-Za-z0-9_]{0,62}$"
TableName = Annotated[
    str,
    AfterValidator(
        spelled(
            _TABLE_PATTERN,
            "a table is named NAME or SCHEMA.NAME, such as crm.customers: letters, digits and _, no digit first, "
            "at most 63 characters",
        )
    ),
    WithJsonSchema({"type": "string", "pattern": _TABLE_PATTERN}),
]
_DECIMAL = re.compile(r"decimal\((\d{1,2}),\s*(\d{1,2})\)")
ONLY_FOR = {
    key: {name for name, record in FIELD_TYPES.items() if key in record.takes}
    for key in ("max_length", "options", "region", "format", "pattern", "min", "max", "characters")
}
"""Key -> the types that take it; every type takes the keys that are not here."""


class FieldRules(Strict):
    """What a field's values must keep. In an import's column the type may be left out: the database has it.

    Attributes:
        type: see design 4.1. `decimal(p,s)` in YAML becomes type `decimal` with precision and scale.
        max_length: characters; the ceiling of 8000 (Latin-1) or 4000 (any other character) holds without it.
        format: strptime pattern of a date or datetime, read besides the ISO spellings.
        characters: `basic` refuses emoji, characters beyond the Basic Multilingual Plane and control characters;
            `any` refuses only NUL.
        pii: `true`: values are masked in reports too. `false`: Dagster's pages show them. By default only their shape.
    """

    type: TypeName | None = None
    precision: SkipJsonSchema[int | None] = None
    scale: SkipJsonSchema[int | None] = None
    max_length: Annotated[int, Key(ge=1, le=8000)] | None = None
    options: tuple[StrictStr, ...] | None = None
    region: Region | None = None
    format: str | None = None
    characters: Literal["basic", "any"] = "basic"
    required: StrictBool = False
    unique: StrictBool = False
    min: int | float | str | None = None
    max: int | float | str | None = None
    pattern: str | None = None
    one_of: tuple[StrictStr, ...] | None = None
    pii: StrictBool | None = None
    description: str = ""

    @model_validator(mode="before")
    @classmethod
    def _decimal(cls, value: Any) -> Any:
        if isinstance(value, dict) and ("precision" in value or "scale" in value):
            raise ValueError("digits belong to the type: decimal(12,2) holds 10 before and 2 after the point")
        if isinstance(value, dict) and str(value.get("type", "")).startswith("decimal"):
            if str(value["type"]).startswith("decimal(") and not str(value["type"]).endswith(")"):
                raise ValueError('inside { } the comma of a decimal needs quotes: {type: "decimal(12,2)"}')
            match = _DECIMAL.fullmatch(str(value["type"]))
            if match is None:
                raise ValueError("write decimal with its digits: decimal(12,2) holds 10 before and 2 after the point")
            precision, scale = int(match[1]), int(match[2])
            if not (1 <= precision <= 38 and scale <= precision):
                raise ValueError("decimal(p,s) needs 1 <= p <= 38 and s <= p")
            return {**value, "type": "decimal", "precision": precision, "scale": scale}
        return value

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        mistake = pattern_mistake(value) if value is not None else ""
        if mistake:
            raise ValueError(mistake)
        return value

    @model_validator(mode="after")
    def _fits_its_type(self) -> Self:
        if self.type is None:
            return self
        for key, types in ONLY_FOR.items():
            if key in self.model_fields_set and getattr(self, key) is not None and self.type not in types:
                raise ValueError(
                    f"'{key}' does not apply to type {self.type}; it belongs to {', '.join(sorted(types))}"
                )
        if self.type == "enum" and not self.options:
            raise ValueError("an enum needs options: [first, second, ...]")
        if self.options is not None and len(set(self.options)) != len(self.options):
            raise ValueError("options repeat a value")
        if self.format is not None and "%" not in self.format:
            raise ValueError("format is a strptime pattern: %d/%m/%Y reads 31/12/2026")
        if self.format is not None and (mistake := format_mistake(self.format)):
            raise ValueError(f"format: {mistake}")
        bounds = [self._bound(key, bound) for key, bound in (("min", self.min), ("max", self.max)) if bound is not None]
        if len(bounds) == 2 and bounds[0] > bounds[1]:
            raise ValueError("min is above max: no value could pass")
        for key in ("options", "one_of"):
            for value in getattr(self, key) or ():
                if value != trimmed(value):
                    raise ValueError(
                        f"{key}: '{value}' begins or ends with a blank; a cell's own blanks there are left out"
                    )
        for value in self.one_of or ():
            if not spells(self, value):
                raise ValueError(f"one_of: '{value}' is no {self.type_name}")
        return self

    def _bound(self, key: str, bound: float | str) -> Any:
        """The bound as a comparable value. It must be a value of the field's type."""
        if self.type is not None and FIELD_TYPES[self.type].is_date:
            try:
                at = datetime.fromisoformat(str(bound)).replace(tzinfo=None)
            except ValueError:
                raise ValueError(f"{key} of a {self.type} is a date such as 2026-11-22") from None
            day_alone = self.type == "datetime" and spells(self, f"{bound}T00:00:00")
            return self._spelled(key, bound, at, day_alone=day_alone)
        try:
            number = int(str(bound)) if self.type == "int" else Decimal(str(bound))
        except (ValueError, ArithmeticError):
            raise ValueError(f"{key} of type {self.type} is a number") from None
        if not Decimal(number).is_finite():
            raise ValueError(f"{key} of type {self.type} is a number")
        return self._spelled(key, bound, number)

    def _spelled(self, key: str, bound: float | str, value: Any, *, day_alone: bool = False) -> Any:
        """The bound's value, if a row could have it."""
        if not (day_alone or spells(self, str(bound))):
            raise ValueError(f"{key}: '{bound}' is no {self.type_name}")
        return value

    @property
    def type_name(self) -> str:
        """The type as YAML spells it: `decimal(12,2)`, `int` ..."""
        return f"decimal({self.precision},{self.scale})" if self.type == "decimal" else str(self.type)


class Field(FieldRules):
    """A typed column of a database, with the rules its values must keep."""

    type: TypeName

    @classmethod
    def from_rules(cls, *layers: FieldRules) -> Field:
        """One field from several layers of rules; what a later layer sets wins.

        Raises:
            pydantic.ValidationError: no layer gives a type, or a rule does not fit the type.
        """
        given: dict[str, Any] = {}
        for rules in layers:
            given |= {key: getattr(rules, key) for key in rules.model_fields_set if key in cls.model_fields}
        if given.get("type") == "decimal":
            given["type"] = f"decimal({given.pop('precision')},{given.pop('scale')})"
        return cls.model_validate(given)


_OWN_SCHEMAS = {"ingest": "the ledger's", "information_schema": "Postgres's"}
_SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})


def taken_name(name: str) -> str:
    """Why no field may have that name; "" if one may."""
    if name.lower() == "profile_id" or name.startswith("_"):
        return f"'{name}' is a name the product keeps for itself"
    if name in _SYSTEM_COLUMNS:
        return f"'{name}' is a column that Postgres keeps in every table; choose another field name"
    return ""


class Resource(Strict):
    """Something a customer consents to, over channels."""

    channels: tuple[Channel, ...] = Key(min_length=1)
    description: str = ""


class Retention(Strict):
    """How long rejects, events and old values are kept; `ingest purge` deletes older ones. The counts of loads stay."""

    rejects: Duration = timedelta(days=90)
    events: Duration = timedelta(days=30)
    history: Duration = timedelta(days=365)


class Database(Strict):
    """One Postgres table of customer profiles: its key, its fields, its consent resources.

    Attributes:
        fillfactor: percent of each page that a first load fills in a table that the product makes. What is left is for
            the next version of a row: Postgres then touches no index for it (a HOT update).
        history: loads keep the old values of fields that they change.
        groups: people who may see its imports in the studio, unless an import names its own; () is everybody.
    """

    table: TableName
    key: Name
    key_default: Literal["uuid", "sequence"] | None = None
    max_fields: int = Key(default=200, ge=1, le=1500)
    max_fields_per_import: int = Key(default=10, ge=1, le=1500)
    reserved: tuple[Name, ...] = ()
    default_dates: tuple[date, ...] = (date(1900, 1, 1), date(1989, 1, 1))
    geo_database: LocalPath | None = None
    fields: dict[Name, Field]
    resources: dict[Name, Resource] = Key(default_factory=dict)
    history: StrictBool = False
    fillfactor: int = Key(default=90, ge=10, le=100)
    retention: Retention = Retention()
    groups: tuple[Group, ...] = ()
    description: str = ""

    @field_validator("table")
    @classmethod
    def _outside_the_product(cls, value: str) -> str:
        schema = value.rpartition(".")[0]
        owner = "Postgres's" if schema.startswith("pg_") else _OWN_SCHEMAS.get(schema)
        if owner is not None:
            raise ValueError(f"the schema '{schema}' is {owner} own; choose another one for customers")
        return value

    @field_validator("fields")
    @classmethod
    def _free_names(cls, value: dict[str, Field]) -> dict[str, Field]:
        for problem in filter(None, map(taken_name, value)):
            raise ValueError(problem)
        return value

    @model_validator(mode="after")
    def _key_is_a_field(self) -> Self:
        if self.key not in self.fields:
            raise ValueError(f"the key '{self.key}' is not one of the fields; {nearest(self.key, self.fields)}")
        record = FIELD_TYPES[self.fields[self.key].type]
        if not record.may_be_key:
            *others, last = [name for name, other in FIELD_TYPES.items() if other.may_be_key]
            raise ValueError(f"the key must be of type {', '.join(others)} or {last}")
        if self.key_default is not None and self.key_default not in record.key_defaults:
            makes = sorted(name for name, other in FIELD_TYPES.items() if self.key_default in other.key_defaults)
            raise ValueError(f"key_default: {self.key_default} needs a key of type {' or '.join(makes)}")
        longest = self.fields[self.key].max_length
        if self.key_default == "uuid" and longest is not None and longest < UUID_LENGTH:
            raise ValueError(
                f"key_default: uuid makes keys of {UUID_LENGTH} characters; the key's max_length is {longest}"
            )
        if len(self.fields) > self.max_fields:
            raise ValueError(f"{len(self.fields)} fields, and max_fields is {self.max_fields}")
        return self

    @property
    def schema_and_table(self) -> tuple[str, str]:
        """`("crm", "customers")`; the default schema is `public`."""
        schema, _, table = self.table.rpartition(".")
        return (schema or "public", table)

    @property
    def qualified_table(self) -> str:
        """`crm.customers`; the default schema is `public`."""
        return ".".join(self.schema_and_table)


class Databases(Strict):
    """The whole of `databases.yaml`.

    Attributes:
        notify: whom to tell about every import, besides those whom an import names itself.
    """

    databases: dict[Name, Database]
    notify: tuple[Notify, ...] = ()
