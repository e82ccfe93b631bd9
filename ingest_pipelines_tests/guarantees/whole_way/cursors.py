"""Steps of a source that is read by a cursor."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import rule

from ingest_pipelines_tests.guarantees.whole_way.faults import Accident
from ingest_pipelines_tests.guarantees.whole_way.histories import ALL_ACCIDENTS, SEED, SQL_ROWS, Histories
from ingest_pipelines_tests.guarantees.whole_way.oracle import Row
from ingest_pipelines_tests.guarantees.whole_way.place import RANKS
from ingest_pipelines_tests.guarantees.whole_way.sources import Drain


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
