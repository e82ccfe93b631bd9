"""`imports/NAME.yaml`: one configured feed; design 3.3."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, StrictBool, StrictStr, Tag, model_validator

from ingest_pipelines.config.asset_keys import AssetPath, AssetPaths, spelled_key
from ingest_pipelines.config.base import Duration, Group, Name, Owner, Strict, TimeZone, parse_duration
from ingest_pipelines.config.cleaning import Cleaning, Text
from ingest_pipelines.config.databases import Channel, FieldRules
from ingest_pipelines.config.decryption import ENDINGS, Decrypt
from ingest_pipelines.config.file_format import Format
from ingest_pipelines.config.file_parts import Parts
from ingest_pipelines.config.file_pattern import file_pattern_mistake
from ingest_pipelines.config.notify import Notify
from ingest_pipelines.config.schedule import Schedule
from ingest_pipelines.cursor.values import CursorKind, CursorValue, cursor_kind, parse_cursor
from ingest_pipelines.model import LIST_MODES, Mode

MatchMode = Literal[
    "profile_id", "field", "email", "email_profile", "email_subscription", "phone", "phone_profile",
    "phone_subscription", "push", "channel", "email_or_phone_profile", "email_or_phone_subscription",
]  # fmt: skip
CONTACT_CHANNELS: Mapping[str, tuple[Channel, ...]] = {
    "email": ("email",),
    "phone": ("sms", "whatsapp", "viber"),
    "push": ("push", "web_push"),
}
"""Kind of contact -> the subscription channels whose contacts are of that kind."""

BY_CONSENT: frozenset[str] = frozenset(
    {"email", "email_subscription", "phone", "phone_subscription", "push", "channel", "email_or_phone_subscription"}
)
"""Match modes that also search consent records."""

SubscriptionStatus = Literal[
    "subscribed", "unconfirmed", "suspended", "unsubscribed", "complained", "hard_bounced", "invalid"
]


class Cursor(Strict):
    """The column that orders a query's rows; `{lastItem}` is its last committed value.

    Attributes:
        start: where the first chunk starts, exclusive. It says what the column holds: a number, an ISO date or
            timestamp, or text.
        lag: how far behind the last committed value a drain starts, for rows that become visible late: a duration
            (`10m`) for dates and timestamps, a number for numbers.
    """

    column: Annotated[StrictStr, Field(min_length=1)]
    start: int | float | str
    lag: int | float | str = 0

    @property
    def kind(self) -> CursorKind:
        """What the column holds, by `start`."""
        return cursor_kind(self.start)

    @property
    def initial(self) -> CursorValue:
        """`start` as a value of the column."""
        return parse_cursor(str(self.start), self.kind)

    @property
    def lag_amount(self) -> timedelta | Decimal:
        """The lag as a value that can be subtracted from a cursor's value."""
        return parse_duration(self.lag) if self.kind == "moment" and self.lag != 0 else Decimal(str(self.lag))

    @model_validator(mode="after")
    def _lag_fits(self) -> Self:
        if self.lag == 0:
            return self
        if self.kind == "text":
            raise ValueError("lag: text has no distance; a lag goes with numbers, dates and timestamps")
        if self.kind == "number" and (isinstance(self.lag, str) or self.lag < 0):
            raise ValueError("lag: the cursor holds numbers, so the lag is a number above zero, such as 1000")
        if self.kind == "moment":
            parse_duration(self.lag)
        return self


class Window(Strict):
    """Time-window partitions: `{windowStart}` and `{windowEnd}` are the half-open bounds.

    Attributes:
        start: the first window's day, or hour.
        offset: how much later than midnight, or the full hour, a window starts.
        wall_clock: bind the bounds as local times of `timezone`, for columns that hold local time without a zone;
            else they are points in time, and a column without a zone is taken for UTC.
    """

    every: Literal["hour", "day", "week", "month"]
    start: date | datetime
    timezone: TimeZone = "UTC"
    offset: Duration = timedelta(0)
    wall_clock: StrictBool = False


class Limits(Strict):
    """Limits of an item; one above them is refused before its rows are validated. Counted while the item is read."""

    max_bytes: int = Field(default=50 * 2**30, ge=1)
    max_cell_bytes: int = Field(default=1_000_000, ge=1, le=3_000_000)
    max_columns: int = Field(default=1_000, ge=1)
    max_expansion: int = Field(default=200, ge=1)


class SourceOfImport(Strict):
    """What an import reads: a file by name, a query, or a table.

    Attributes:
        asset_key: the Dagster asset that makes what is read. Without it the source is an asset of our own.
        member: the name of the file to read in a zip archive, or a pattern for it such as `*.csv`.
        pattern: a regular expression for the names of the files in the folder of `file`, instead of its own name.
        parts: several files are one item.
        decrypt: the files are encrypted.
    """

    connection: str
    asset_key: AssetPath | None = None
    file: str | None = None
    pattern: str | None = None
    parts: Parts | None = None
    decrypt: Decrypt | None = None
    member: Annotated[StrictStr, Field(min_length=1)] | None = None
    pick: Literal["last", "all"] = "last"
    settle: Duration | None = None
    archive: str | None = None
    query: str | None = None
    table: str | None = None
    cursor: Cursor | None = None
    drain: StrictBool = True
    window: Window | None = None
    limits: Limits = Limits()
    format: Format = Format()

    @property
    def endings(self) -> tuple[str, ...]:
        """How the names of its files may end, besides `.gz` and `.zip`, as parts of a regular expression."""
        if self.decrypt is None:
            return self.format.endings
        encrypted = rf"(?:\.gz|\.zip)?\.(?:{'|'.join(ENDINGS)})"
        return (*self.format.endings, *(ending + encrypted for ending in self.format.endings))

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        given = [key for key in ("file", "query", "table") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"a source is one of file, query or table; here are {' and '.join(given)}")
        if self.cursor is not None and self.window is not None:
            raise ValueError("a source has a cursor or a window, not both")
        if (self.cursor is not None or self.window is not None) and self.file is not None:
            raise ValueError("cursor and window belong to a query, not to a file")
        for key in ("member", "parts", "decrypt"):
            if getattr(self, key) is not None and (self.query is not None or self.table is not None):
                raise ValueError(f"{key}: goes with files, not with a query or a table")
        if self.parts is not None and self.pattern is not None:
            raise ValueError("pattern: parts.pattern says how the files are called; leave one of them out")
        if self.pattern is not None and self.file is None:
            raise ValueError("pattern: goes with file: Folder/Name, which says the folder and the name in messages")
        if self.pattern is not None and (mistake := file_pattern_mistake(self.pattern)):
            raise ValueError(f"pattern: {mistake}")
        if self.cursor is not None and "{lastItem}" not in (self.query or ""):
            raise ValueError("with a cursor the query needs {lastItem}: SELECT ... WHERE id > {lastItem} ORDER BY id")
        if self.window is not None and not (
            "{windowStart}" in (self.query or "") and "{windowEnd}" in (self.query or "")
        ):
            raise ValueError("with a window the query needs {windowStart} and {windowEnd}")
        if (self.query or self.table) and (keys := self.format.model_fields_set - {"null_values"}):
            raise ValueError(f"format.{min(keys)}: goes with a file; of a query's cells only null_values is declared")
        if self.file is not None:
            folders = self.file.strip("/").split("/")
            if len(folders) > 3 or any(part in {"", ".", ".."} for part in folders):
                raise ValueError("a file is at most two folders deep: Folder/Subfolder/Name, without '..'")
        return self


def _spelling(value: Any) -> str:
    """Which of its two forms a name has, so that messages name the mistakes of that form only."""
    return "rules" if isinstance(value, (dict, Strict)) else "name"


class Match(Strict):
    """How a row finds its profile, other than by the key.

    Attributes:
        by: see design 5.4.
        field: the database field to compare (`by: field`).
        channel: the channel whose contacts to compare (`by: channel`).
        column: the source column with the value, where it is not mapped to a field.
    """

    by: MatchMode
    field: Name | None = None
    channel: Channel | None = None
    column: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.by == "field") != (self.field is not None):
            raise ValueError("'field' goes with by: field, and only with it")
        if (self.by == "channel") != (self.channel is not None):
            raise ValueError("'channel' goes with by: channel, and only with it")
        return self


class ColumnMapping(FieldRules, Cleaning):
    """A mapped source column: the field it fills and, for a new field, its type and rules.

    Attributes:
        also: other names that the column has in some files.
    """

    field: Name
    also: tuple[StrictStr, ...] = ()

    @property
    def cleaning(self) -> Cleaning:
        """How its cells are cleaned."""
        return Cleaning.model_validate({key: getattr(self, key) for key in Cleaning.model_fields})


MatchBy = Annotated[Annotated[Name, Tag("name")] | Annotated[Match, Tag("rules")], Discriminator(_spelling)]
Target = Annotated[Annotated[Name, Tag("name")] | Annotated[ColumnMapping, Tag("rules")], Discriminator(_spelling)]


class RejectLimit(Strict):
    """How many rows may be rejected before nothing is merged. Default: none."""

    max_rows: Annotated[int, Field(ge=0)] | None = None
    max_percent: Annotated[float, Field(ge=0, le=100)] | None = None
    unlimited: StrictBool = False

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.unlimited and (self.max_rows is not None or self.max_percent is not None):
            raise ValueError("unlimited: true contradicts max_rows and max_percent")
        return self

    def allows(self, rejected: int, read: int) -> bool:
        """Whether a load of `read` rows may leave out `rejected` ones."""
        if self.unlimited:
            return True
        if self.max_rows is None and self.max_percent is None:
            return rejected == 0
        return (self.max_rows is None or rejected <= self.max_rows) and (
            self.max_percent is None or rejected * 100 <= self.max_percent * read
        )

    def __str__(self) -> str:
        """The limit in words, for messages."""
        if self.unlimited:
            return "any number"
        limits = [f"{self.max_rows:,} row{'' if self.max_rows == 1 else 's'}"] if self.max_rows is not None else []
        limits += [f"{self.max_percent:g} %"] if self.max_percent is not None else []
        return " and ".join(limits) or "none"


class Subscription(Strict):
    """A consent record that every row of the import upserts."""

    resource: Name
    channel: Channel
    contact: str
    status: SubscriptionStatus | None = None
    status_column: str | None = None
    update_status: StrictBool = False
    resubscribe: StrictBool = False
    fields: dict[str, Name] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_status(self) -> Self:
        if (self.status is None) == (self.status_column is None):
            raise ValueError("give status (fixed) or status_column (from the source), exactly one of them")
        return self


class Geo(Strict):
    """Fields to fill from the row's IP address."""

    ip: str
    country: Name | None = None
    region: Name | None = None
    city: Name | None = None


class Sensor(Strict):
    """How often the source is checked for new files."""

    every: Duration = timedelta(seconds=60)
    enabled: StrictBool = True


class Shrink(Strict):
    """Fails the load of an item with far fewer rows than the last committed one."""

    min_percent: float = Field(default=50, ge=0, le=100)


class Receipt(Strict):
    """The answer to each delivered file: written into a folder of its connection."""

    folder: Annotated[StrictStr, Field(min_length=1)]

    @model_validator(mode="after")
    def _below(self) -> Self:
        if any(part in {"", ".", ".."} for part in self.folder.strip("/").split("/")):
            raise ValueError("receipt.folder is a folder below the connection's root, such as outbox, without '..'")
        return self


class Deletes(Strict):
    """The largest share of the table's profiles that one load may delete or mark unless it is forced."""

    max_percent: float = Field(default=5, ge=0, le=100)

    def allows(self, profiles: int, of: int) -> bool:
        """Whether so many profiles of the table may go."""
        return profiles * 100 <= self.max_percent * of


class Unmatched(Strict):
    """Rows without a profile wait for it, with `mode: update_only`.

    Attributes:
        keep: how long; `ingest purge` deletes them afterwards.
        max_rows: so many of the import's customers may wait.
    """

    keep: Duration
    max_rows: int = Field(default=100_000, ge=1, le=1_000_000)


class Volume(Strict):
    """How far an item's number of rows may be from the median of the last ones before a check warns."""

    min_percent: float = Field(default=50, ge=0, le=100)
    max_percent: float = Field(default=200, ge=100)

    def usual(self, rows: int, median: float) -> bool:
        """Whether the number of rows is within the limits."""
        return median * self.min_percent <= rows * 100 <= median * self.max_percent


class Import(Strict):
    """One feed: source, mapping, mode, rules, schedule. The file's name is its name.

    Attributes:
        groups: people who may see it in the studio; () is everybody. Default: those of the database.
        renamed_from: the name that it had before; its history in the ledger moves to the new name.
        late_after: how long after the last delivery the next one is late. Default: as the schedule says.
        after: Dagster assets: the import runs when one of them is materialized.
        set: the values of fields that `deactivate`, or a snapshot, gives to profiles.
        snapshot: each file has every customer: profiles that it has no longer are deleted, or get the values of `set`.
    """

    description: str = ""
    status: Literal["draft", "active", "paused"] = "active"
    owners: tuple[Owner, ...] = ()
    labels: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    groups: tuple[Group, ...] | None = None
    renamed_from: Name | None = None
    database: Name
    source: SourceOfImport
    mode: Mode = "add_and_update"
    set: dict[Name, Text] = Field(default_factory=dict)
    snapshot: StrictBool = False
    match: MatchBy | None = None
    columns: dict[str, Target] = Field(min_length=1)
    empty: Literal["clear", "keep"] = "clear"
    duplicates: Literal["reject", "last", "first"] = "reject"
    timezone: TimeZone = "UTC"
    version: str | None = None
    rejects: RejectLimit = RejectLimit()
    unmatched: Unmatched | None = None
    shrink: Shrink = Shrink()
    deletes: Deletes = Deletes()
    volume: Volume = Volume()
    late_after: Duration | None = None
    subscriptions: tuple[Subscription, ...] = ()
    geo: Geo | None = None
    events: StrictBool = True
    schedule: Schedule | None = None
    after: AssetPaths = ()
    sensor: Sensor | None = None
    notify: tuple[Notify, ...] = ()
    receipt: Receipt | None = None

    @property
    def adds(self) -> bool:
        """Whether unknown customers become profiles."""
        return self.mode in {"add_and_update", "add_only"}

    @property
    def lists_keys(self) -> bool:
        """Whether its items are lists of customers to delete or to deactivate."""
        return self.mode in LIST_MODES

    @property
    def least_percent(self) -> float:
        """The share of the last item's rows below which an item has shrunk; a list of keys may have any number."""
        return 0 if self.lists_keys and "shrink" not in self.model_fields_set else self.shrink.min_percent

    @property
    def has_ticks(self) -> bool:
        """Whether ticks start it: of its schedule, or of the assets that it runs after."""
        return self.schedule is not None or bool(self.after)

    @property
    def start_words(self) -> list[str]:
        """What starts it by itself, in words: `every 6 hours ...`, `after dbt/mart_customers`."""
        return [
            *([self.schedule.words] if self.schedule is not None else ()),
            *([self.after_words] if self.after else ()),
        ]

    @property
    def after_words(self) -> str:
        """`after dbt/mart_customers`; "" where the import runs after no asset."""
        return f"after {', '.join(map(spelled_key, self.after))}" if self.after else ""
