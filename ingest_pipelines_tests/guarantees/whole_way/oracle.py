"""What is true after any history of sources, deliveries, people and accidents: the specification, in plain Python.

It imports nothing but the standard library. Whoever adds a command or a mode adds its method here, and a rule in
`machine`. Texts are what files and sources hold; a load is its number in the order of the ledger; a rejected row is a
load and a place: the line of a file, or the number that a source gave the row.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from ingest_pipelines_tests.guarantees.whole_way.sources import Chunk

SENTINEL = "zwq"
"""Stands in every value that a message might quote."""

UNSUPPORTED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Control characters, but for tabs and line ends."""
INTEGER = re.compile(r"[+-]?[0-9]+")
FIELDS = ("note", "points")

Row = tuple[str, str, str, str]
"""Key, note, points and contact, as texts; empty: no value."""


@dataclass(frozen=True)
class Setting:
    """An import's YAML, as far as it decides what a load does.

    Attributes:
        keep: an empty cell leaves the field as it is.
        duplicates: `reject`, or the `last` row of a key counts.
        max_rejects: None: any number.
        min_percent: of the last item's rows.
        deletes: how many percent of the profiles a list of leavers may delete.
    """

    mode: str = "add_and_update"
    keep: bool = False
    duplicates: str = "reject"
    max_rejects: int | None = None
    min_percent: int = 0
    deletes: int = 100


@dataclass
class Item:
    """One unit of source data.

    Attributes:
        kind: `upload`, `file`, `cursor` or `replay`.
        order: its place among the import's items; None: it has none.
        shown: how Dagster's pages must show its partition; "": that is not known before the next run.
    """

    kind: str
    order: tuple[int, int] | None
    status: str = "new"
    shown: str = "MISSING"


@dataclass(frozen=True)
class Load:
    """A row of the ledger's loads."""

    import_name: str
    item: str
    status: str
    read: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    unmatched: int = 0
    skipped: int = 0
    rejected: int = 0
    deleted: int = 0


@dataclass(frozen=True)
class World:
    """Everything that can be seen from outside, in a form in which two of them can be compared."""

    table: Mapping[str, tuple[str | None, int | None]]
    consents: frozenset[tuple[str, str]]
    loads: tuple[Load, ...]
    rejects: Mapping[tuple[int, int], tuple[frozenset[str], bool]]
    events: frozenset[tuple[int, str, tuple[str, ...]]]
    cursors: Mapping[str, object]
    items: Mapping[tuple[str, str], tuple[str, str]]
    audit: tuple[tuple[str, str], ...]
    states: Mapping[str, str | None]


@dataclass(frozen=True)
class Verdict:
    """How a load has to end. Several reasons may hold at once; the product names one of them."""

    statuses: frozenset[str]
    codes: frozenset[int]


COMMITTED = Verdict(frozenset({"committed"}), frozenset({0}))


@dataclass
class Truth:
    """What is true.

    Attributes:
        table: note and points by key.
        consents: key and contact of every subscription.
        rejects: per rejected row the rules that it breaks, and whether it is open.
        rows: the rejected rows as they came.
        cursors: per import its committed value.
        states: of imports that a person has paused or resumed.
        locked: imports whose mapping may not change.
        dead: runs whose process died: the next command that runs an import records them.
        forgotten: keys of people whom loads leave out.
    """

    table: dict[str, tuple[str | None, int | None]] = field(default_factory=dict)
    consents: set[tuple[str, str]] = field(default_factory=set)
    loads: list[Load] = field(default_factory=list)
    rejects: dict[tuple[int, int], tuple[frozenset[str], bool]] = field(default_factory=dict)
    rows: dict[tuple[int, int], Row] = field(default_factory=dict)
    events: set[tuple[int, str, tuple[str, ...]]] = field(default_factory=set)
    cursors: dict[str, object] = field(default_factory=dict)
    items: dict[tuple[str, str], Item] = field(default_factory=dict)
    audit: list[tuple[str, str]] = field(default_factory=list)
    states: dict[str, str | None] = field(default_factory=dict)
    locked: set[str] = field(default_factory=set)
    last_content: dict[str, object] = field(default_factory=dict)
    dead: list[tuple[str, str]] = field(default_factory=list)
    dead_late: list[tuple[str, str]] = field(default_factory=list)
    forgotten: set[str] = field(default_factory=set)

    def copy(self) -> Self:
        """The same, apart."""
        return copy.deepcopy(self)

    def seen(self) -> World:
        """What must be seen from outside."""
        return World(
            dict(self.table), frozenset(self.consents), tuple(self.loads), dict(self.rejects), frozenset(self.events),
            dict(self.cursors), {name: (item.kind, item.status) for name, item in self.items.items()},
            tuple(self.audit), {name: state for name, state in self.states.items() if state is not None},
        )  # fmt: skip

    # Deliveries

    def register(self, import_name: str, name: str, kind: str, order: tuple[int, int] | None) -> None:
        """The ledger knows the item."""
        self.items.setdefault((import_name, name), Item(kind, order))

    def verdict(self, import_name: str, name: str, rows: Sequence[Row], setting: Setting, *, forced: bool) -> Verdict:
        """How a load of the item has to end now."""
        statuses, codes = set(), set()
        item = self.items[import_name, name]
        if not self._allows(setting, sum(map(bool, self.codes(rows, setting)))):
            statuses.add("failed")
            codes.add(4)
        if not forced and not self._may_delete(rows, setting):
            statuses.add("failed")
            codes.add(1)
        if not forced and item.kind in {"upload", "file"}:
            if self._is_stale(import_name, name):
                statuses.add("refused")
                codes.add(1)
            last = self._last_read(import_name)
            if last is not None and len(rows) * 100 < last * setting.min_percent:
                statuses.add("failed")
                codes.add(1)
        return Verdict(frozenset(statuses), frozenset(codes)) if statuses else COMMITTED

    def _allows(self, setting: Setting, rejected: int) -> bool:
        return setting.max_rejects is None or rejected <= setting.max_rejects

    def _may_delete(self, rows: Sequence[Row], setting: Setting) -> bool:
        leavers = self._leavers(rows, setting) if setting.mode == "delete" else set()
        return len(leavers) * 100 <= setting.deletes * len(self.table)

    def _leavers(self, rows: Sequence[Row], setting: Setting) -> set[str]:
        broken = self.codes(rows, setting)
        named = {row[0] for row, codes in zip(rows, broken, strict=True) if not codes}
        return (named & self.table.keys()) - self.forgotten

    def _is_stale(self, import_name: str, name: str) -> bool:
        own = self.items[import_name, name].order
        committed = [
            (item.order, other)
            for (owner, other), item in self.items.items()
            if owner == import_name and item.status == "committed" and item.order is not None and item.kind != "replay"
        ]
        return bool(committed) and own is not None and max(committed)[1] != name and own < max(committed)[0]

    def _last_read(self, import_name: str) -> int | None:
        """Rows of the import's last committed item that was no replay."""
        for load in reversed(self.loads):
            of = self.items[load.import_name, load.item]
            if load.import_name == import_name and load.status == "committed" and of.kind != "replay":
                return load.read
        return None

    def load(
        self, import_name: str, name: str, rows: Sequence[Row], places: Sequence[int], setting: Setting, *,
        forced: bool = False,
    ) -> int:  # fmt: skip
        """The item is loaded: its good rows are in the table, its bad ones are open rejects. The load's number."""
        number = self._merge(import_name, name, rows, places, setting)
        if forced:
            self.audit.append(("forced", import_name))
        self._settle(import_name, name)
        return number

    def fail(
        self, import_name: str, name: str, status: str, rows: Sequence[Row] = (), places: Sequence[int] = (),
        setting: Setting | None = None,
    ) -> int:  # fmt: skip
        """A load of the item is recorded that changed nothing; with rows, they were judged, and rejects are kept."""
        broken = self.codes(rows, setting) if setting is not None else []
        number = len(self.loads)
        rejected = sum(map(bool, broken))
        self.loads.append(Load(import_name, name, status, read=len(rows), rejected=rejected))
        self._reject(number, rows, places, broken)
        item = self.items[import_name, name]
        if item.status != "committed" or item.kind == "cursor":
            item.status = status
        item.shown = "FAILED"
        return number

    def die(self, import_name: str, name: str) -> None:
        """The process of a run of the item died before its load was committed."""
        self.dead.append((import_name, name))
        self.items[import_name, name].shown = ""

    def die_late(self, import_name: str, name: str) -> None:
        """The process of a run of the item died after its load was committed."""
        self.dead_late.append((import_name, name))
        self.items[import_name, name].shown = ""

    def sweep(self) -> None:
        """A command that runs an import begins: runs that died are recorded."""
        for import_name, name in self.dead:
            self.fail(import_name, name, "failed")
        for import_name, name in self.dead_late:
            self.items[import_name, name].shown = "MATERIALIZED"
        self.dead, self.dead_late = [], []

    def repeats(
        self, import_name: str, name: str, rows: Sequence[Row], content: object, setting: Setting
    ) -> bool:  # fmt: skip
        """Whether a daemon that loads the item finds nothing new: the last item's bytes, which change nothing now."""
        last = self.last_content.get(import_name)
        if last != (content, setting):
            return False
        then = self.copy()
        then.load(import_name, name, rows, range(len(rows)), setting)
        return (then.table, then.consents) == (self.table, self.consents)

    def find_nothing_new(self, import_name: str, name: str) -> None:
        """A daemon's load that changed nothing."""
        self.loads.append(Load(import_name, name, "skipped"))
        item = self.items[import_name, name]
        item.shown = ""
        if item.status != "committed":
            item.status = "skipped"

    # Cursors

    def chunk(
        self, import_name: str, name: str, chunk: Chunk, setting: Setting, *, committed: object | None
    ) -> None:  # fmt: skip
        """One chunk of a drain is loaded."""
        rows, places = [row.cells for row in chunk.rows], [row.number for row in chunk.rows]
        self._merge(import_name, name, rows, places, setting)
        self._settle(import_name, name)
        self.cursors[import_name] = committed

    def set_cursor(self, import_name: str, value: object) -> None:
        """A person sets the cursor."""
        self.cursors[import_name] = value
        self.audit.append(("cursor set", import_name))

    # People

    def fits(self, rows: Sequence[Row], setting: Setting) -> bool:
        """Whether a replay of the rows is within the import's limits."""
        rejected = sum(map(bool, self.codes(rows, setting)))
        return self._allows(setting, rejected) and self._may_delete(rows, setting)

    def replay(
        self, import_name: str, name: str, given: Sequence[tuple[tuple[int, int], Row]], lines: Sequence[int],
        setting: Setting,
    ) -> None:  # fmt: skip
        """Corrected rows are loaded; those that pass are resolved where they were rejected first."""
        rows = [row for _, row in given]
        broken = self.codes(rows, setting)
        number = self._merge(import_name, name, rows, lines, setting)
        for line, codes in zip(lines, broken, strict=True):
            if codes:
                self.rejects[number, line] = (frozenset(codes), False)
        by_load: dict[int, int] = {}
        for (place, _), codes in zip(given, broken, strict=True):
            by_load[place[0]] = by_load.get(place[0], 0)
            if not codes:
                self.rejects[place] = (self.rejects[place][0], False)
        self.audit += [("replayed", import_name)] * len(by_load)
        self._settle(import_name, name)

    def open_rejects(self, import_name: str) -> list[tuple[int, int]]:
        """Rejected rows of the import that wait for a correction."""
        return sorted(
            place
            for place, (_, is_open) in self.rejects.items()
            if is_open and self.loads[place[0]].import_name == import_name
        )

    def codes(self, rows: Sequence[Row], setting: Setting | None) -> list[set[str]]:
        """The rules that each row of an item breaks; none of a forgotten person's, and no other row repeats it."""
        known = iter(codes_of([row for row in rows if row[0] not in self.forgotten], setting))
        return [set() if row[0] in self.forgotten else next(known) for row in rows]

    def forget(self, key: str) -> None:
        """A person is nowhere, and kept out from now on. What was counted stays counted."""
        own = {contact for of, contact in self.consents if of == key}
        addresses = own - {contact for of, contact in self.consents if of != key}
        self.forgotten.add(key)
        self.table.pop(key, None)
        self.consents = {consent for consent in self.consents if consent[0] != key}
        self.events = {event for event in self.events if event[1] != key}
        for place, row in list(self.rows.items()):
            if row[0] == key or not addresses.isdisjoint(row):
                del self.rows[place], self.rejects[place]

    def remember(self, key: str) -> None:
        """Loads take the person again. What was erased stays erased."""
        self.forgotten.discard(key)

    # Other applications

    def write(self, key: str, value: tuple[str | None, int | None]) -> None:
        """Another application changes a profile, or adds it."""
        self.table[key] = value

    def _settle(self, import_name: str, name: str) -> None:
        item = self.items[import_name, name]
        item.status, item.shown = "committed", "MATERIALIZED"

    def _merge(self, import_name: str, name: str, rows: Sequence[Row], places: Sequence[int], setting: Setting) -> int:
        broken, number = self.codes(rows, setting), len(self.loads)
        counts = Counter[str]()
        last = {row[0]: at for at, (row, codes) in enumerate(zip(rows, broken, strict=True)) if not codes}
        for at, (row, codes) in enumerate(zip(rows, broken, strict=True)):
            if row[0] in self.forgotten:
                counts["skipped"] += 1
            elif codes:
                counts["rejected"] += 1
            elif last[row[0]] != at:
                counts["skipped"] += 1
            else:
                counts[self._write(number, row, setting)] += 1
        self.loads.append(Load(import_name, name, "committed", read=len(rows), **counts))
        self.locked.add(import_name)
        self._reject(number, rows, places, broken)
        return number

    def _write(self, load: int, row: Row, setting: Setting) -> str:
        key, note, points, contact = row
        old = self.table.get(key)
        if setting.mode == "delete":
            return "unmatched" if old is None else self._delete(load, key)
        if old is None and setting.mode == "update_only":
            return "unmatched"
        if old is not None and setting.mode == "add_only":
            return "skipped"
        new: tuple[str | None, int | None] = (note or None, int(points) if points else None)
        if old is not None and setting.keep:
            new = (old[0] if new[0] is None else new[0], old[1] if new[1] is None else new[1])
        changed = [] if old is None else [name for name, a, b in zip(FIELDS, old, new, strict=True) if a != b]
        consented = bool(contact) and (key, contact) not in self.consents
        self.table[key] = new
        if contact:
            self.consents.add((key, contact))
        if old is None:
            self.events.add((load, key, ()))
            return "inserted"
        if not changed and not consented:
            return "unchanged"
        told = [*changed, *(["subscription:newsletter.email"] if consented else [])]
        self.events.add((load, key, tuple(sorted(told))))
        return "updated"

    def _delete(self, load: int, key: str) -> str:
        del self.table[key]
        self.consents = {consent for consent in self.consents if consent[0] != key}
        self.events.add((load, key, ("profile.deleted",)))
        return "deleted"

    def _reject(
        self, number: int, rows: Sequence[Row], places: Sequence[int], broken: Sequence[Collection[str]]
    ) -> None:
        for row, place, codes in zip(rows, places, broken, strict=True) if broken else ():
            if codes:
                self.rejects[number, place] = (frozenset(codes), True)
                self.rows[number, place] = row


def codes_of(rows: Iterable[Row], setting: Setting | None) -> list[set[str]]:
    """The rules that each row of an item breaks."""
    rows = list(rows)
    times = Counter(row[0] for row in rows)
    repeats = setting is not None and setting.duplicates == "reject"
    fields = setting is None or setting.mode != "delete"
    return [
        {"missing_key" for _ in [0] if not key}
        | {"duplicate_key" for _ in [0] if key and repeats and times[key] > 1}
        | (broken_fields(note, points, contact) if fields else set())
        for key, note, points, contact in rows
    ]


def broken_fields(note: str, points: str, contact: str) -> set[str]:
    """The rules that a row breaks beside its key."""
    return (
        {"unsupported_character" for _ in [0] if UNSUPPORTED.search(note)}
        | {"bad_int" for _ in [0] if points and not INTEGER.fullmatch(points)}
        | {"bad_email" for _ in [0] if contact and "@" not in contact}
    )
