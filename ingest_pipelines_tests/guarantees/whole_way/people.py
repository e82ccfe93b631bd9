"""Steps of people who run imports and correct rejects, and of other applications."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import rule

from ingest_pipelines_tests.guarantees.whole_way.faults import NONE, Accident
from ingest_pipelines_tests.guarantees.whole_way.files import Files
from ingest_pipelines_tests.guarantees.whole_way.histories import (
    ACCIDENTS,
    ENDS,
    KEYS,
    NOTES,
    PICTURES,
    POINTS,
    SEED,
    SETTINGS,
    Exported,
)
from ingest_pipelines_tests.guarantees.whole_way.oracle import Row, Setting
from ingest_pipelines_tests.guarantees.whole_way.place import FIRST_TIME, read_csv


class People(Files):
    """What people and other applications do."""

    @rule(setting=SETTINGS, seed=SEED)
    def a_person_acts(self, setting: Setting, seed: int) -> None:
        """A person changes how an import works, or looks at it; or another application writes to the table."""
        chance = random.Random(seed)
        name = chance.choice(self.history.imports)
        self.edit_the_yaml(name, setting)
        acts = [
            self.pause_or_resume, self.unlock, self.skip, self.look_around, self.write_elsewhere, self.forget,
            self.remember,
        ]  # fmt: skip
        chance.choice(acts)(name, chance)
        self.agree()

    def edit_the_yaml(self, name: str, setting: Setting) -> None:
        """Another mode, other limits."""
        if name == self.history.orders:
            setting = replace(setting, duplicates="last", max_rejects=None)
        if name == self.history.leavers:
            setting = replace(setting, mode="delete", keep=False, deletes=50 if setting.keep else 100)
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

    def forget(self, name: str, chance: random.Random) -> None:
        """A person of the table, or of nowhere, is forgotten; the key is in a file, for it may look like an option."""
        if self.truth.dead or self.truth.dead_late:
            return
        self.forget_person(chance.choice([*sorted(self.truth.table), *KEYS[:6]]))

    def forget_person(self, key: str) -> None:
        """The person is erased, and a search for her finds nothing."""
        keys = self.keys_file(key)
        told = self.history.ingest("forget", self.history.name, "--file", keys, "--yes")
        assert told.code == 0, told
        self.truth.forget(key)
        told = self.history.ingest("forget", self.history.name, "--file", keys, "--proof")
        assert told.code == 0, told
        for export in self.exports:  # a person does not correct what is erased
            export.rows = {place: row for place, row in export.rows.items() if place in self.truth.rejects}
        self.exports = [export for export in self.exports if export.rows]

    def remember(self, name: str, chance: random.Random) -> None:
        """Somebody is let in again, who may never have been kept out."""
        self.remember_person(chance.choice(sorted(self.truth.forgotten) or KEYS[:6]))

    def remember_person(self, key: str) -> None:
        """Loads take the person again."""
        told = self.history.ingest("remember", self.history.name, "--file", self.keys_file(key))
        assert told.code == 0, told
        self.truth.remember(key)

    def keys_file(self, key: str) -> Path:
        """A file with the key."""
        path = self.history.folder / "keys.txt"
        path.write_text(f"{key}\n", encoding="utf-8")
        return path

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

    def repeat_a_mistake(self, chance: random.Random) -> None:
        """Two files have the same bad rows, on the same lines."""
        keys = chance.sample(KEYS[:4], 3)
        rows = [(key, chance.choice(NOTES), points, "") for key, points in zip(keys, ("zwqx", "1.5", "1"), strict=True)]
        for _ in range(2):
            name = f"Up_{len(self.uploads)}.csv"
            self.uploads[name] = file = self.put(name, rows, "\n", older=0)
            self.load_file(self.history.upload, name, file, NONE, "--file", self.history.folder / name)

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
        if not any(map(self.truth.open_rejects, self.history.imports)):
            self.repeat_a_mistake(chance)
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
                    if re.match(r"'*[=+-]", row[at[number]]):  # as an export writes it
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
        fits = truth.fits(rows, setting)
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
