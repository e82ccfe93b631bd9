"""What the stages hand to each other: frozen, picklable facts and paths, never frames.

`Item` (what to read) -> land -> `Landing` (bytes on disk) -> validate -> `Validated` (accepted rows and
rejects on disk, counts) -> merge -> `LoadReport` (counts and outcome of the load).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Literal, NewType

ItemKey = NewType("ItemKey", str)
"""An item's name and its Dagster partition key: `[A-Za-z0-9._-]`, at most 200 characters."""


def item_name(key: str) -> str:
    """The file's name in an item's key: `C_1.csv` of `2025-03-03T06-00-00Z_C_1.csv_3f9a1c2b`; else the key."""
    moment, _, rest = key.partition("_")
    name, _, tail = rest.rpartition("_")
    return name if name and moment.endswith("Z") and len(tail) == 8 else key


ItemKind = Literal["file", "upload", "replay", "query", "cursor", "window"]
ItemStatus = Literal["new", "committed", "skipped", "failed", "refused"]
LoadStatus = Literal["running", "committed", "skipped", "failed", "refused"]
Mode = Literal["add_and_update", "add_only", "update_only", "delete", "deactivate"]

LIST_MODES: frozenset[Mode] = frozenset({"delete", "deactivate"})
"""Modes whose items are lists of customers, without values."""

LINE = "_line"
"""The column of every frame between landing and merge that holds the row's physical line."""

PART_LINES = 10**12
"""Line n of an item's part p is p * PART_LINES + n, so that the lines of all parts ascend and differ."""


def part_and_line(line: int) -> tuple[int | None, int]:
    """(number of the part, its line) of a line of an item; the part is None where the item is one file."""
    return (line // PART_LINES, line % PART_LINES) if line >= PART_LINES else (None, line)


def spelled_line(line: int) -> str:
    """`line 17`, or `part 3 line 17`."""
    part, own = part_and_line(line)
    return f"line {own}" if part is None else f"part {part} line {own}"


NUL_PICTURES: Mapping[str, str] = {"\u241b": "\u241b\u241b", "\u2400": "\u241b\u2400", "\0": "\u2400"}
"""How rejects store NUL, which Postgres text cannot hold: as the symbol for it. A symbol in the source itself is
escaped. Replace in this order."""


def utf8_or_nul(cell: bytes) -> str:
    """The bytes as UTF-8. Other bytes become a text with a NUL, which every type rejects."""
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return f"\x00\\x{cell.hex()}"


TRIM = "_trim"
"""The column of a landed frame that says whether a cell of the row begins or ends with a blank. Without this column,
any cell may."""

FILE_NAME, DELIVERED_AT = ITEM_COLUMNS = ("_file", "_delivered_at")
"""Columns that an import may map although no source has them: the file's name, and when it was last modified."""

OWN_COLUMNS = (LINE, TRIM)
"""Reserved names: a source's column cannot have them."""


@dataclass(frozen=True)
class SourceFile:
    """A file as a source's listing shows it.

    Attributes:
        path: relative to the connection's root, `/` between folders, at most two folders deep.
        size: bytes.
        modified_at: with time zone.
        version: etag, generation or version id if the source has one; else "".
        identity: what else tells that the content may have changed while it was read, though size and time are the
            same; "" where the source has nothing. It is compared during a read only, and is no part of the item.
    """

    path: str
    size: int
    modified_at: datetime
    version: str = ""
    identity: str = field(default="", compare=False)


@dataclass(frozen=True)
class Item:
    """One unit of source data of one import: a file version, a query window, a cursor drain.

    Attributes:
        import_name: the import's name.
        key: unique within the import; the Dagster partition.
        uri: where it is, for people: no credentials.
        path: how the source finds it again (a file's relative path; "" for queries).
        fingerprint: sha256 of uri, size and modification (files) or of the bounds (queries).
        size: bytes, if known before reading.
        modified_at: a file's time, or a window's end; orders the items of an import together with `serial`.
        serial: the number in `Name_<serial>.csv`; None for `Name.csv`.
        version: the source's own version of the file (etag, generation), or "".
        cursor_from: the cursor value after which a chunk's rows start, as text; exclusive. None: the initial value.
        cursor_committed: the committed value when the chunk was opened; a `lag` starts before it. The ledger does not
            keep it with the item.
        cursor_upper_bound: with a `lag`, how far the drain may move the committed value: the largest value that the
            source had when the drain began. Rows beyond it may follow rows that are not visible yet. Not in the ledger.
        window_start, window_end: half-open bounds of a window item.
    """

    import_name: str
    key: ItemKey
    kind: ItemKind
    uri: str
    path: str = ""
    fingerprint: str = ""
    size: int | None = None
    modified_at: datetime | None = None
    serial: int | None = None
    version: str = ""
    cursor_from: str | None = None
    window_start: datetime | None = None
    window_end: datetime | None = None
    cursor_committed: str | None = None
    cursor_upper_bound: str | None = None


@dataclass(frozen=True)
class Run:
    """Who loads an item, and how.

    Attributes:
        id: Dagster's run id; with import, item and cursor_from it is a load's run key.
        attempt: 1 for the first try of this run.
        by: user@host, or `sensor`, `schedule`.
        forced: load even if the item is stale, shrunk or unchanged; recorded in the ledger.
        dry_run: everything but the commit.
    """

    id: str
    attempt: int = 1
    by: str = ""
    forced: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class Workspace:
    """Local folders of one run: `spool` for landed bytes, `spill` for validated rows."""

    spool: Path
    spill: Path


@dataclass(frozen=True)
class Landing:
    """An item's bytes on local disk, hashed, proven unchanged while they were read.

    Attributes:
        path: a spool file; its name is the hash of its content.
        format: `csv`: the bytes as delivered, decompressed. `arrow`: an Arrow IPC stream of typed columns.
        content_sha256: of the bytes as delivered (files), of the batches' content (queries).
        bytes: size of `path`.
        newlines, quotes: number of LF and of `"` bytes in `path` (csv only).
        cursor_to: the largest cursor value landed, as text (cursor items only); None: no row, or none that is new.
        cursor_committed: the committed value once this chunk is committed; never before what it was.
        cut: whether a query's LIMIT may have left rows for the next chunk.
        rows: for queries; for files None, the reader counts.
        replaced: the item that was to be landed, if the file `item` has replaced it.
        settled_by: the load that has already settled `item`; nothing was landed.
        parts: of an item of several files, each of them in order; `path` is that of the first.
        beside: files that belong to the item besides: a marker, a manifest.
        part, expected_rows: the number of a part, and how many rows its manifest says it has.
    """

    item: Item
    path: Path
    format: Literal["csv", "arrow"]
    content_sha256: str
    bytes: int
    newlines: int = 0
    quotes: int = 0
    cursor_to: str | None = None
    rows: int | None = None
    cursor_committed: str | None = None
    cut: bool = False
    replaced: Item | None = None
    settled_by: int | None = None
    parts: tuple[Landing, ...] = ()
    beside: tuple[Item, ...] = ()
    part: int = 0
    expected_rows: int | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every spool file."""
        return tuple(part.path for part in self.parts) or (self.path,)

    @property
    def files(self) -> tuple[Item, ...]:
        """Every file that was delivered."""
        return (*(part.item for part in self.parts), *self.beside) if self.parts else (self.item,)


@dataclass(frozen=True)
class RejectSample:
    """One broken rule of one row, for reports and the Dagster UI.

    `value` is the offending cell's text, or None if the field is marked `pii: true`.
    """

    line: int
    key: str | None
    field: str
    code: str
    reason: str
    value: str | None = None


@dataclass(frozen=True)
class Validated:
    """An item's rows, validated.

    Attributes:
        accepted: Arrow IPC files of accepted rows, each sorted by the match key. Columns: `_line` (int64), then the
            mapped fields by name, cast to their types; NULL if the source cell is empty. Then fields that only
            `geo` fills, then the import's extra columns as `column:NAME`, text.
        rejects: Arrow IPC file or None. One record per broken rule. Columns: `line` int64, `key`, `field`, `code`,
            `reason` strings (the shape of `ingest.rejects`) and `row` string: the source row's raw cells as a JSON
            object {source column: text or null}.
        read, accepted_rows, rejected_rows, superseded_rows, suppressed_rows: rows; `read` is the sum of the others.
            Suppressed ones are of people who were forgotten: they are in no file.
        suppressed_until: the newest person whom `ingest forget` kept out when the rows were validated, by number.
        codes: rejected rows per rule code (a row counts once per code).
        fields: rejected cells per (field, code).
        samples: the first rejects, at most 20.
        columns: header of the source, in order.
        cleaned: field -> word of `clean`, or key such as `map` -> how many cells of all rows read it changed.
        geo_misses: addresses that the geo database does not know, or all of them when it is missing.
    """

    landing: Landing
    accepted: tuple[Path, ...]
    rejects: Path | None
    read: int
    accepted_rows: int
    rejected_rows: int
    superseded_rows: int = 0
    codes: Mapping[str, int] = field(default_factory=dict)
    fields: Mapping[tuple[str, str], int] = field(default_factory=dict)
    samples: tuple[RejectSample, ...] = ()
    columns: tuple[str, ...] = ()
    geo_misses: int = 0
    cleaned: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    seconds: float = 0.0
    suppressed_rows: int = 0
    suppressed_until: int = 0


@dataclass(frozen=True)
class Counts:
    """The outcome of a load's rows. `read` is their sum, except for an item that failed as a whole."""

    read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    unmatched: int = 0
    skipped: int = 0
    rejected: int = 0
    deleted: int = 0

    @property
    def not_merged(self) -> int:
        """Rows that were read and have no outcome: the valid rows of an item that failed as a whole."""
        return self.read - (
            self.inserted + self.updated + self.unchanged + self.unmatched + self.skipped + self.rejected + self.deleted
        )

    @property
    def balanced(self) -> bool:
        """Whether read is the sum of all the others."""
        return self.not_merged == 0


COUNTS = tuple(field.name for field in fields(Counts))
"""The names of a load's counts, in the order in which people read them."""


@dataclass(frozen=True)
class LoadReport:
    """What one load did, as recorded in the ledger.

    Attributes:
        load_id: `ingest.loads.id`; None for a plan.
        status: `committed`, `skipped` (nothing new), `failed` or `refused`.
        reason: why it is not `committed`, else "".
        ddl: statements that the load ran, or that a planned load would run.
        codes: rejected rows per rule code.
        cleaned: field -> word of `clean`, or key such as `map` -> how many cells it changed.
        warnings: what a person should see although it did not stop the load.
        seconds: wall time per stage: land, validate, copy, merge, commit.
        suppressed: those of the skipped rows that are of people who were forgotten.
        absent: profiles that a full file no longer had, and that were deleted or marked for it. They are no rows of it.
        kept: how many of the unmatched rows wait for their profiles.
        healed: how many rows that waited, of this or another import, were applied.
    """

    import_name: str
    item_key: ItemKey
    load_id: int | None
    status: LoadStatus
    counts: Counts
    reason: str = ""
    ddl: tuple[str, ...] = ()
    codes: Mapping[str, int] = field(default_factory=dict)
    samples: tuple[RejectSample, ...] = ()
    warnings: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    cursor_to: str | None = None
    dry_run: bool = False
    cleaned: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    suppressed: int = 0
    absent: int = 0
    kept: int = 0
    healed: int = 0
