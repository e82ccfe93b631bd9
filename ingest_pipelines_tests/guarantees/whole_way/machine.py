"""The steps of vendors, people and accidents. After each of them place and oracle must say the same."""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from ingest_pipelines_tests.guarantees.whole_way.faults import KILLS, NONE, SOURCE, TARGET, Accident, accidents
from ingest_pipelines_tests.guarantees.whole_way.oracle import Row, Setting, Truth, World, codes_of
from ingest_pipelines_tests.guarantees.whole_way.place import (
    FILE_COLUMNS,
    FIRST_TIME,
    KINDS,
    RANKS,
    History,
    Kind,
    Place,
    Told,
    csv_bytes,
    read_csv,
)
from ingest_pipelines_tests.guarantees.whole_way.sources import Cursor, Drain, Table

KEYS = ["a", "b", "c", "d", "'e", "-f", ""]
NOTES = [
    "", "zwq", "zwq\r\nlines", "zwq\rline", "=zwq", "'+zwq", "zwq nu\0l", "\u2400zwq", "\u241b\u2400zwq", "zwq\x0bell",
]  # fmt: skip
POINTS = ["", "1", "-2", "+3", "zwqx", "1.5", "=9zwq"]
CONTACTS = ["", "zwqx@example.com", "zwqy@example.com"]
ENDS = st.sampled_from(["\n", "\r\n", "\r"])

ROWS = st.lists(st.tuples(*map(st.sampled_from, (KEYS, NOTES, POINTS, CONTACTS))), min_size=1, max_size=6)
STEPS = st.lists(st.integers(0, 2), min_size=5, max_size=5)
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
        """A table, three imports and a source of this history's own."""
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
        assert seen == true, _difference(seen, true)
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
        assert self.history.leaks() == []


class Files(Histories):
    """What vendors deliver, and people upload."""

    @rule(rows=ROWS, end=ENDS, older=st.integers(0, 2), forced=st.booleans(), accident=ACCIDENTS, seed=SEED)
    def upload(self, rows: list[Row], end: str, older: int, forced: bool, accident: Accident, seed: int) -> None:
        """A person loads a file: a new one, one with the same rows, or one under a name that was used before."""
        chance = random.Random(seed)
        if self.uploads and chance.random() < 0.3:
            rows = chance.choice(list(self.uploads.values())).rows
        names = [f"Up_{len(self.uploads)}.csv", *self.uploads]
        name = chance.choice([names[0], names[0], *names])
        self.uploads[name] = file = self.put(name, rows, end, older=older)
        words = ["--force"] if forced else []
        self.load_file(self.history.upload, name, file, accident, "--file", self.history.folder / name, *words)

    @rule(rows=ROWS, end=ENDS, older=st.integers(0, 3), forced=st.booleans(), accident=ACCIDENTS, seed=SEED)
    def deliver(self, rows: list[Row], end: str, older: int, forced: bool, accident: Accident, seed: int) -> None:
        """A vendor delivers: a new serial, an older one that comes late, or new bytes under an old name."""
        chance = random.Random(seed)
        if self.files and chance.random() < 0.3:
            rows = chance.choice(list(self.files.values())).rows
        names = [f"Points_{1000 + len(self.files)}.csv", "Points.csv", "Points_7.csv", *self.files]
        name = chance.choice([names[0], names[0], *names])
        self.files[name] = self.put(name, rows, end, older=older)
        newest = max(self.files, key=lambda name: (self.files[name].minute, serial_of(name), name))
        words = ["--force"] if forced else []
        self.load_file(self.history.feed, newest, self.files[newest], accident, *words)

    @rule(seed=SEED, forced=st.booleans(), accident=ACCIDENTS)
    def load_again(self, seed: int, forced: bool, accident: Accident) -> None:
        """A person names an item whose file is still what it was."""
        chance, words = random.Random(seed), ["--force"] if forced else []
        import_name = chance.choice(self.history.imports[:2])
        files = self.files if import_name == self.history.feed else self.uploads
        keys = {label: key for key, label in self.history.keys.items()}
        own = [name for name, file in files.items() if (import_name, f"{name}@{file.minute}") in self.truth.items]
        if own:
            name = chance.choice(own)
            key = keys[f"{name}@{files[name].minute}"]
            self.load_file(import_name, name, files[name], accident, "--item", key, *words)

    @rule(rows=ROWS, others=ROWS, end=ENDS)
    def two_runs_at_once(self, rows: list[Row], others: list[Row], end: str) -> None:
        """A person loads a file while a run of another import of the same table begins."""
        history, truth = self.history, self.truth
        name, other = f"Up_{len(self.uploads)}.csv", f"Points_{1000 + len(self.files)}.csv"
        self.uploads[name] = self.put(name, rows, end, older=0)
        self.files[other] = self.put(other, others, end, older=0)
        upload = history.begin("run", history.upload, "--file", history.folder / name)
        deliver = history.begin("run", history.feed)
        both = {
            history.upload: (name, self.uploads[name], upload), history.feed: (other, self.files[other], deliver),
        }  # fmt: skip
        told = {import_name: history.ended(begun) for import_name, (_, _, begun) in both.items()}
        truth.sweep()
        self.name_items()
        for import_name in history.order_of_loads(len(truth.loads)):
            name, file, _ = both.pop(import_name)
            label, kind = f"{name}@{file.minute}", "file" if import_name == history.feed else "upload"
            truth.register(import_name, label, kind, (file.minute, serial_of(name)))
            self.settle(import_name, label, file, self.settings[import_name], told[import_name], NONE, forced=False)
        assert not both, told
        self.agree()

    def load_file(self, import_name: str, name: str, file: File, accident: Accident, *words: object) -> None:
        """`ingest run` of the file, as the oracle says."""
        label, kind = f"{name}@{file.minute}", "file" if import_name == self.history.feed else "upload"
        truth, setting, forced = self.truth, self.settings[import_name], "--force" in words
        told = self.happen(accident, "run", import_name, *words)
        if not accident.blocks:
            truth.sweep()
            truth.register(import_name, label, kind, (file.minute, serial_of(name)))
        self.settle(import_name, label, file, setting, told, accident, forced=forced)
        self.agree()

    def settle(
        self, import_name: str, label: str, file: File, setting: Setting, told: Told, accident: Accident, *,
        forced: bool,
    ) -> None:  # fmt: skip
        """The oracle takes the load's end, if it is one that may be."""
        truth, came = self.truth, self.new_loads(import_name)[: 1 if accident is NONE else None]
        if accident.blocks:
            assert (told.code, came) == (3, []), told
            return
        verdict = truth.verdict(import_name, label, file.rows, setting, forced=forced)
        statuses = [status for _, status, _ in came]
        died = told.code == -9
        committed = statuses == ["committed"]
        if committed:
            assert "committed" in verdict.statuses, (verdict, told)
            assert told.code == 0 or not accident.passes, told
            assert not died or accident.after_the_commit, (accident, told)
            truth.load(import_name, label, file.rows, file.lines, setting, forced=forced)
            if died:
                truth.die_late(import_name, label)
            elif told.code:
                truth.items[import_name, label].shown = ""
            return
        assert told.code != 0, (told, came)
        if died and not came:
            assert not (accident.after_the_commit and "committed" in verdict.statuses), (accident, told)
            if not accident.before_the_run:
                truth.die(import_name, label)
            return
        if accident.passes:
            assert set(statuses[:1]) <= verdict.statuses, (verdict, told, came)
            assert statuses, told
            assert told.code in verdict.codes, (verdict, told)
        assert len(came) <= 1, came
        for _, status, read in came:
            judged = read > 0
            truth.fail(
                import_name, label, status, file.rows if judged else (), file.lines if judged else (),
                setting if judged else None,
            )  # fmt: skip
        if not came:
            truth.items[import_name, label].shown = ""


class Cursors(Histories):
    """A source that is read by a cursor."""

    @rule(cells=st.lists(SQL_ROWS, min_size=1, max_size=8), seed=SEED, accident=st.sampled_from(ALL_ACCIDENTS))
    def read_the_source(self, cells: list[Row], seed: int, accident: Accident) -> None:
        """Applications and administrators change the source, a person may set the cursor, and a drain reads it."""
        chance = random.Random(seed)
        for number in range(0, len(cells), 4):
            self.grow(cells[number : number + 4], chance)
            chance.choice([self.commit, self.commit, self.change, self.delete, self.back_up, self.restore])(chance)
        if chance.random() < 0.1:
            self.set_the_cursor(chance)
        self.drain(accident)

    def grow(self, cells: Sequence[Row], chance: random.Random) -> None:
        """Rows come, some with the same value; of a transaction that stays open, or of one that is over."""
        rank, late = self.source.largest or 0, chance.random() < 0.3
        if late and self.late is None:
            self.late = self.history.connect()
        for row in cells:
            rank = min(rank + chance.choice([0, 0, 1, 2]), RANKS - 1)
            if not self.source.has(rank, row[0]):  # which of two rows with one value is the last, nobody can say
                self.history.insert(self.source.add(row, rank, late=late), self.late if late else None)

    def commit(self, chance: random.Random) -> None:
        """The transaction that was open is committed: rows come late."""
        if self.late is not None:
            self.late.commit()
            self.late.close()
            self.late = None
            self.source.commit()

    def delete(self, chance: random.Random) -> None:
        """A row is deleted, perhaps the last one."""
        if self.source.visible:
            number = chance.choice([max(self.source.visible), *self.source.visible])
            del self.source.visible[number]
            self.history.delete(number)

    def change(self, chance: random.Random) -> None:
        """A row says something else and moves to the end."""
        rank = min((self.source.largest or 0) + 1, RANKS - 1)
        if self.source.visible and not self.source.has(rank):
            number = chance.choice(sorted(self.source.visible))
            key, _, points, contact = self.source.visible[number].cells
            self.history.delete(number)
            self.history.insert(self.source.change(number, (key, "zwq changed", points, contact), rank))

    def back_up(self, chance: random.Random) -> None:
        """There is a backup of this moment."""
        self.source.backups.append(dict(self.source.visible))

    def restore(self, chance: random.Random) -> None:
        """The last backup is restored."""
        if self.source.backups:
            self.commit(chance)
            self.source.visible = dict(self.source.backups[-1])
            self.history.clear()
            for row in sorted(self.source.visible.values(), key=lambda row: row.number):
                self.history.insert(row)

    def drain(self, accident: Accident) -> None:
        """`ingest run` of the import that reads the source."""
        name, truth = self.history.orders, self.truth
        told = self.happen(accident, "run", name)
        if accident.blocks:
            assert told.code == 3, told
            self.agree()
            return
        truth.sweep()
        came = self.new_loads(name)
        new = [label for (owner, label) in self.known_items() if owner == name and (name, label) not in truth.items]
        for label in new:
            truth.register(name, label, "cursor", None)
        committed = truth.cursors.get(name)
        assert committed is None or isinstance(committed, int), committed
        drain = Drain(self.source, self.cursor, committed)
        waiting = [
            label for (of, label), item in truth.items.items() if of == name and item.status in {"new", "failed"}
        ]
        label = "".join((came[-1:] and [came[-1][0]]) or waiting[-1:])
        for label, status, read in came:
            if status == "committed":
                truth.chunk(name, label, drain.take(read), self.settings[name], committed=drain.committed)
                if drain.committed is None:
                    truth.cursors.pop(name, None)
            else:
                assert drain.refused or not accident.passes, (told, came)
                truth.fail(name, label, status)
        ended = told.code == 0
        if ended:
            assert not drain.refused, (told, came, drain)
            assert drain.whole, (told, came, drain)
        elif told.code == -9:
            if accident.dies_at == "ended" or drain.ended:
                if came[-1][1] == "committed":
                    truth.die_late(name, label)
            elif label and not accident.before_the_run:
                truth.die(name, label)
        else:
            assert drain.refused or not accident.passes, (told, came, drain)
            if label and (not came or came[-1][1] == "committed"):
                truth.items[name, label].shown = ""
        self.agree()

    def set_the_cursor(self, chance: random.Random) -> None:
        """A person sets the cursor to a value that the source has, or had."""
        rank = chance.randint(0, self.source.largest or 0)
        value = self.history.kind.texts(rank)[0]
        told = self.history.ingest("cursor", "set", self.history.orders, value, "--yes")
        assert told.code == 0, told
        self.truth.set_cursor(self.history.orders, rank)
        self.agree()


class People(Histories):
    """What people and other applications do."""

    @rule(setting=SETTINGS, seed=SEED)
    def a_person_acts(self, setting: Setting, seed: int) -> None:
        """A person changes how an import works, or looks at it; or another application writes to the table."""
        chance = random.Random(seed)
        name = chance.choice(self.history.imports)
        self.edit_the_yaml(name, setting)
        acts = [self.pause_or_resume, self.unlock, self.skip, self.look_around, self.write_elsewhere]
        chance.choice(acts)(name, chance)
        self.agree()

    def edit_the_yaml(self, name: str, setting: Setting) -> None:
        """Another mode, other limits."""
        if name == self.history.orders:
            setting = replace(setting, duplicates="last", max_rejects=None)
        self.settings[name] = setting
        self.write_yaml(name)

    def pause_or_resume(self, name: str, chance: random.Random) -> None:
        """What an import does by itself stops, or begins again; `ingest run` works in any case."""
        paused = self.truth.states.get(name) == "paused"
        told = self.history.ingest("resume" if paused else "pause", name)
        assert told.code == 0, told
        self.truth.states[name] = "active" if paused else "paused"
        self.truth.audit.append(("resumed" if paused else "paused", name))

    def unlock(self, name: str, chance: random.Random) -> None:
        """An import's mapping may change."""
        told = self.history.ingest("unlock", name, "--yes")
        assert told.code == 0, told
        if name in self.truth.locked:
            self.truth.locked.remove(name)
            self.truth.audit.append(("unlocked", name))

    def skip(self, name: str, chance: random.Random) -> None:
        """An item is given up."""
        keys = {label: key for key, label in self.history.keys.items()}
        labels = [label for of, label in self.truth.items if of == name and not label.startswith("replay")]
        if self.truth.dead or not labels:
            return
        label = chance.choice(labels)
        told = self.history.ingest("skip", name, "--item", keys[label], "--yes", "--reason", "given up")
        item = self.truth.items[name, label]
        assert (told.code == 0) == (item.status != "committed"), told
        if told.code == 0:
            item.status = "skipped"
            self.truth.audit.append(("skipped", name))

    def look_around(self, name: str, chance: random.Random) -> None:
        """Nothing changes, and nothing that is read holds a value."""
        words = chance.choice([("status",), ("report", name), ("rejects", "list", name), ("audit",)])
        told = self.history.ingest(*words)
        assert told.code == 0, told

    def write_elsewhere(self, name: str, chance: random.Random) -> None:
        """Another application changes a profile."""
        if self.truth.table:
            key, note, points = chance.choice(sorted(self.truth.table)), chance.choice([None, "zwq other"]), 7
            statement = f"UPDATE crm.{self.history.name} SET note = %s, points = %s WHERE customer_id = %s"
            self.place.execute(statement, note, points, key)
            self.truth.write(key, (note, points))

    @rule(seed=SEED)
    def export(self, seed: int) -> None:
        """A person exports the rejects of one load."""
        truth, history, chance = self.truth, self.history, random.Random(seed)
        names = [name for name in history.imports if truth.open_rejects(name)]
        if not names:
            return
        name = chance.choice(names)
        loads = sorted({load for load, _ in truth.open_rejects(name)})
        repeated = [
            load
            for load, place in truth.open_rejects(name)
            if any((later, place) in truth.rejects for later in loads if later > load)
        ]
        chosen = chance.choice([None, *loads, *repeated])
        numbers = self.load_numbers()
        words = [] if chosen is None else ["--load", numbers[chosen]]
        path = history.folder / "exported.csv"
        told = history.ingest("rejects", "export", name, *words, "--output", path)
        assert told.code == 0, told
        header, rows = read_csv(path)
        at = [header.index(column) for column in ("ingest.load", "ingest.line")]
        place_at = header.index("number") if name == history.orders else at[1]
        named = {(numbers.index(int(row[at[0]])), int(row[place_at])): row for row in rows}
        of = chosen if chosen is not None else loads[-1]
        wanted = [place for place in truth.open_rejects(name) if place[0] == of]
        assert sorted(named) == wanted
        self.exports.append(Exported(header, named, name == history.orders))

    def load_numbers(self) -> list[int]:
        """The ledger's numbers of the oracle's loads."""
        query = "SELECT id FROM ingest.loads WHERE import = ANY(%s) ORDER BY id"
        return [number for (number,) in self.place.rows(query, self.history.imports)]

    @rule(seed=SEED, end=ENDS, bom=st.booleans(), accident=ACCIDENTS)
    def correct_and_replay(self, seed: int, end: str, bom: bool, accident: Accident) -> None:
        """Something may go wrong while corrected rows are replayed."""
        self.replay_some(seed, end, accident, bom=bom)

    def replay_some(self, seed: int, end: str, accident: Accident, *, bom: bool) -> None:
        """A person's tool saves some of the rows in some order, some of them corrected; perhaps of two exports."""
        chance = random.Random(seed)
        if not self.exports or chance.random() < 0.5:
            self.export(seed)
        if not self.exports:
            return
        chosen = chance.sample(self.exports, min(len(self.exports), chance.randint(1, 2)))
        first, truth = chosen[0], self.truth
        pool = {place: row for export in chosen if export.header == first.header for place, row in export.rows.items()}
        of = {truth.loads[place[0]].import_name for place in pool}
        import_name = chance.choice(sorted(of))
        pool = {place: row for place, row in pool.items() if truth.loads[place[0]].import_name == import_name}
        places = chance.sample(sorted(pool), chance.randint(1, len(pool)))
        if first.of_orders:  # a row of the source that was rejected twice is corrected once
            places = list({number: (load, number) for load, number in places}.values())
        columns = ("id", "note", "points") if first.of_orders else ("line", "'ingest.load", "codes")
        at = [first.header.index(name) for name in columns]
        saved, given = [], []
        for place in places:
            row, cells = list(pool[place]), list(truth.rows[place])
            for number, choices in enumerate((KEYS, NOTES, POINTS)):
                if chance.random() < 0.5:
                    cells[number] = chance.choice(choices)
                    row[at[number]] = "".join(PICTURES.get(letter, letter) for letter in cells[number])
                    if row[at[number]].startswith(("=", "+", "-", "'")):
                        row[at[number]] = f"'{row[at[number]]}"
            saved.append(row)
            given.append((place, (cells[0], cells[1], cells[2], cells[3])))
        text, lines = "", []
        for row in [first.header, *saved]:
            lines.append(1 + sum(text.count(mark) for mark in "\r\n") - text.count("\r\n"))
            text += ",".join('"' + cell.replace('"', '""') + '"' for cell in row) + end
        path = self.history.folder / "saved.csv"
        path.write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.encode())
        self.place.clock += 3
        when = (FIRST_TIME + timedelta(minutes=self.place.clock)).timestamp()
        os.utime(path, (when, when))
        self.replay(import_name, path, lines[1:], given, accident)

    def replay(
        self, name: str, path: Path, lines: Sequence[int], given: Sequence[tuple[tuple[int, int], Row]],
        accident: Accident,
    ) -> None:  # fmt: skip
        """`ingest rejects replay`, as the oracle says."""
        truth, setting = self.truth, self.settings[name]
        waiting = [(line, place, cells) for line, (place, cells) in zip(lines, given, strict=True)
                   if truth.rejects[place][1]]  # fmt: skip
        told = self.happen(accident, "rejects", "replay", name, path)
        if accident.blocks:
            assert told.code == 3, told
            self.agree()
            return
        if not waiting:
            assert told.code == 0, told
            assert "nothing to replay" in told.text
            self.agree()
            return
        truth.sweep()
        came = self.new_loads(name)
        labels = [label for owner, label in self.known_items() if owner == name and label.startswith("replay")]
        label = came[-1][0] if came else (labels[-1] if labels else "")
        if label:
            truth.register(name, label, "replay", None)
        rows = [cells for _, _, cells in waiting]
        own = [place[1] if name == self.history.orders else line for line, place, _ in waiting]
        rejected = sum(map(bool, codes_of(rows, setting)))
        fits = setting.max_rejects is None or rejected <= setting.max_rejects
        died = told.code == -9
        if [status for _, status, _ in came] == ["committed"]:
            assert fits, told
            assert told.code == 0 or not accident.passes, told
            assert not died or accident.after_the_commit, told
            corrected = [(place, cells) for _, place, cells in waiting]
            truth.replay(name, label, corrected, own, setting)
            if died:
                truth.die_late(name, label)
            elif told.code:
                truth.items[name, label].shown = ""
        elif died and not came:
            assert not (accident.after_the_commit and fits), told
            if not accident.before_the_run:
                truth.die(name, label)
        else:
            assert told.code != 0, told
            assert not fits or not accident.passes, told
            for _, status, read in came:
                number = truth.fail(
                    name, label, status, rows if read else (), own if read else (), setting if read else None,
                )  # fmt: skip
                for place in [place for place in truth.rejects if place[0] == number]:
                    truth.rejects[place] = (truth.rejects[place][0], False)
            if not came:
                truth.items[name, label].shown = ""
        self.agree()


class CursorHistories(Cursors):
    """Whatever happens to a source and its cursor."""


class FileHistories(Files, People):
    """Whatever happens to files and their rejects."""


class WholeWay(Files, Cursors, People):
    """Whatever happens between sources and one table."""


def serial_of(name: str) -> int:
    """The number in a file's name; -1: it has none."""
    stem = name.removesuffix(".csv").rpartition("_")[2]
    return int(stem) if stem.isdigit() else -1


def _difference(seen: World, true: World) -> str:
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
