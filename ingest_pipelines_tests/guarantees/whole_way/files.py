"""Steps of vendors who deliver files, and of people who upload them."""

from __future__ import annotations

import random

from hypothesis import strategies as st
from hypothesis.stateful import rule

from ingest_pipelines_tests.guarantees.whole_way.faults import NONE, Accident
from ingest_pipelines_tests.guarantees.whole_way.histories import (
    ACCIDENTS,
    ENDS,
    LEAVERS,
    ROWS,
    SEED,
    File,
    Histories,
)
from ingest_pipelines_tests.guarantees.whole_way.oracle import Row, Setting
from ingest_pipelines_tests.guarantees.whole_way.place import Told


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

    @rule(keys=LEAVERS, forced=st.booleans(), accident=ACCIDENTS)
    def leave(self, keys: list[str], forced: bool, accident: Accident) -> None:
        """A person loads a list of customers who have left."""
        name = f"Left_{len(self.uploads)}.csv"
        self.uploads[name] = file = self.put(name, [(key, "zwq", "x", "") for key in keys], "\n", older=0)
        words = ["--force"] if forced else []
        self.load_file(self.history.leavers, name, file, accident, "--file", self.history.folder / name, *words)

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


def serial_of(name: str) -> int:
    """The number in a file's name; -1: it has none."""
    stem = name.removesuffix(".csv").rpartition("_")[2]
    return int(stem) if stem.isdigit() else -1
