"""What every history has: a table, four imports and their sources; beside them the oracle, which must say the same."""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from ingest_pipelines_tests.guarantees.whole_way.faults import KILLS, SOURCE, TARGET, Accident, accidents
from ingest_pipelines_tests.guarantees.whole_way.oracle import Row, Setting, Truth, World
from ingest_pipelines_tests.guarantees.whole_way.place import (
    FILE_COLUMNS,
    FIRST_TIME,
    KINDS,
    History,
    Kind,
    Place,
    Told,
    csv_bytes,
)
from ingest_pipelines_tests.guarantees.whole_way.sources import Cursor, Table

KEYS = ["a", "b", "c", "d", "'e", "-f", ""]
NOTES = [
    "", "zwq", "zwq\r\nlines", "zwq\rline", "=zwq", "'+zwq", "zwq nu\0l", "\u2400zwq", "\u241b\u2400zwq", "zwq\x0bell",
]  # fmt: skip
POINTS = ["", "1", "-2", "+3", "zwqx", "1.5", "=9zwq"]
CONTACTS = ["", "zwqx@example.com", "zwqy@example.com"]
ENDS = st.sampled_from(["\n", "\r\n", "\r"])

ROWS = st.lists(st.tuples(*map(st.sampled_from, (KEYS, NOTES, POINTS, CONTACTS))), min_size=1, max_size=6)
LEAVERS = st.lists(st.sampled_from(KEYS), min_size=1, max_size=4)
SQL_ROWS = st.tuples(
    *map(st.sampled_from, (KEYS[:5], ["", "zwq", "zwq\nlines", "zwqé"], ["", "1", "2", "zwqx"], CONTACTS))
)
ALL_ACCIDENTS = accidents(KILLS, TARGET, SOURCE)
ACCIDENTS = st.sampled_from(accidents(KILLS, TARGET))
SEED = st.integers(0, 2**32 - 1)
"""A step chooses by a seed of its own: what Hypothesis draws never depends on what came before."""

PICTURES = {"\0": "\u2400", "\u2400": "\u241b\u2400", "\u241b": "\u241b\u241b"}
SETTINGS = st.builds(
    Setting, st.sampled_from(["add_and_update", "add_only", "update_only"]), st.booleans(), st.just("reject"),
    st.sampled_from([None, None, 1]), st.sampled_from([0, 0, 50]),
)  # fmt: skip


@dataclass
class File:
    """A file as it is now."""

    minute: int
    rows: list[Row]
    lines: list[int]
    content: bytes


@dataclass
class Exported:
    """A file of rejects: its rows as they stand in it, and which rejects they are."""

    header: list[str]
    rows: dict[tuple[int, int], list[str]]
    of_orders: bool


class Histories(RuleBasedStateMachine):
    """A table, its imports and their sources; the oracle beside them."""

    place: ClassVar[Place]
    kinds: ClassVar[Sequence[Kind]] = KINDS

    @initialize(seed=SEED)
    def begin(self, seed: int) -> None:
        """A table, four imports and a source of this history's own."""
        chance = random.Random(seed)
        kind = chance.choice(self.kinds)
        self.truth, self.history = Truth(), History(self.place, kind)
        self.files: dict[str, File] = {}
        self.uploads: dict[str, File] = {}
        self.exports: list[Exported] = []
        self.minutes: set[int] = set()
        self.source = Table()
        self.late: Any = None
        lag, again = chance.choice([0, 0, 2]), chance.choice([False, False, True])
        self.cursor = Cursor(
            chance.choice([2, 3, 3, 4, None]), lag if kind.before else 0, again and kind.exact, kind.exact, kind.before
        )
        self.settings = dict.fromkeys(self.history.imports, Setting(max_rejects=chance.choice([None, None, 1])))
        self.settings[self.history.orders] = Setting(duplicates="last")
        self.settings[self.history.leavers] = Setting("delete", deletes=chance.choice([100, 100, 50]))
        for name in self.history.imports:
            self.write_yaml(name)

    @rule()
    def nothing_happens(self) -> None:
        """Time passes, and nothing changes by itself. Hypothesis begins with a history of this step alone."""
        self.agree()

    def teardown(self) -> None:
        if getattr(self, "late", None) is not None:
            self.late.close()

    def write_yaml(self, name: str) -> None:
        """The import's YAML says what its setting is."""
        history, setting = self.history, self.settings[name]
        if name == history.orders:
            source: dict[str, Any] = {
                "connection": history.kind.engine,
                "query": history.query(self.cursor.limit, again=self.cursor.again),
                "cursor": {"column": "seq", "start": history.kind.start, "lag": self.cursor.lag},
            }
            history.configure(name, setting, source, ("id", "note", "points", "contact"))
        elif name == history.feed:
            source = {"connection": "uploads", "file": f"{history.name}/Points", "settle": "0s"}
            history.configure(name, setting, source, FILE_COLUMNS)
        else:
            history.configure(name, setting, {"connection": "uploads"}, FILE_COLUMNS)

    def happen(self, accident: Accident, *words: object) -> Told:
        """The command, with the accident."""
        return accident.happens_to(self.history, *words)

    def put(self, name: str, rows: Sequence[Row], end: str, *, older: int) -> File:
        """The file is there, newer than all others, or older than so many of them. No two are of one minute."""
        content, lines = csv_bytes(FILE_COLUMNS, rows, end)
        self.place.clock += 3
        minute = self.place.clock - 4 * older
        while minute in self.minutes:
            minute -= 1
        self.minutes.add(minute)
        path = self.history.folder / name
        path.write_bytes(content)
        when = (FIRST_TIME + timedelta(minutes=minute)).timestamp()
        os.utime(path, (when, when))
        return File(minute, list(rows), lines, content)

    def new_loads(self, import_name: str) -> list[tuple[str, str, int]]:
        """Loads that the oracle does not know yet: item, status and rows of each."""
        self.name_items()
        found = self.history.new_loads(import_name, len(self.truth.loads))
        return [(self.history.label(item), status, read) for item, status, read in found]

    def name_items(self) -> None:
        """Items that are new get the oracle's names."""
        known = self.history.keys
        for key, path, kind, at in self.place.rows(
            "SELECT key, path, kind, modified_at FROM ingest.items WHERE import = ANY(%s) ORDER BY created_at",
            self.history.imports,
        ):
            if key in known:
                continue
            if kind in {"file", "upload"}:
                known[key] = f"{Path(path).name}@{round((at - FIRST_TIME).total_seconds() / 60)}"
            else:
                known[key] = f"{kind} {len(known)}"

    def known_items(self) -> list[tuple[str, str]]:
        """Items of the ledger, by the oracle's names, oldest first."""
        query = "SELECT import, key FROM ingest.items WHERE import = ANY(%s) ORDER BY created_at"
        return [(name, self.history.label(key)) for name, key in self.place.rows(query, self.history.imports)]

    def agree(self) -> None:
        """Place and oracle say the same."""
        self.name_items()
        seen, true = self.history.observe(), self.truth.seen()
        assert seen == true, difference(seen, true)
        for name in self.history.imports:
            shown = self.history.partitions(name)
            expected = {label: item.shown for (of, label), item in self.truth.items.items() if of == name}
            wrong = {
                label: (shown.get(label, "MISSING"), status)
                for label, status in expected.items()
                if status and shown.get(label, "MISSING") != status
            }
            assert not wrong, f"Dagster's partitions of {name}: {wrong}"
            assert shown.keys() <= expected.keys(), (shown, expected)
        told = self.history.leaks()
        assert not told, f"a value was told: {told}"


def difference(seen: World, true: World) -> str:
    """What differs, in words."""
    parts = []
    for field in dataclasses.fields(World):
        left, right = getattr(seen, field.name), getattr(true, field.name)
        if left == right:
            continue
        if isinstance(left, frozenset):
            left, right = left - right, right - left
        elif isinstance(left, dict):
            left, right = (
                {key: value for key, value in one.items() if key not in other or other[key] != value}
                for one, other in ((left, right), (right, left))
            )
        elif isinstance(left, tuple):
            same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))
            left, right = left[same:], right[same:]
        parts.append(f"{field.name}: seen {left}\n    true {right}")
    return "\n".join(parts)
