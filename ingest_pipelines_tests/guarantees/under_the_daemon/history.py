"""The steps of vendors, sources and people under `ingest up`; after each the world is what the model says."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import psycopg
from dagster import AssetKey

from ingest_pipelines_tests.guarantees.on_call.world import read_status
from ingest_pipelines_tests.guarantees.under_the_daemon.accidents import ACCIDENTS, NONE, Accident
from ingest_pipelines_tests.guarantees.under_the_daemon.waiting import (
    Delivered,
    NotLoaded,
    NotYet,
    OnSchedule,
    Queries,
    Waiting,
    Wrong,
)
from ingest_pipelines_tests.guarantees.under_the_daemon.world import World
from ingest_pipelines_tests.guarantees.whole_way.cursors import Cursors
from ingest_pipelines_tests.guarantees.whole_way.faults import NONE as CALM
from ingest_pipelines_tests.guarantees.whole_way.files import serial_of
from ingest_pipelines_tests.guarantees.whole_way.histories import (
    CONTACTS,
    KEYS,
    NOTES,
    POINTS,
    File,
    difference,
)
from ingest_pipelines_tests.guarantees.whole_way.oracle import Load, Row, Setting, Truth
from ingest_pipelines_tests.guarantees.whole_way.people import People
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
)
from ingest_pipelines_tests.guarantees.whole_way.sources import Cursor, Table
from ingest_pipelines_tests.waiting import pauses, until

PATIENCE_SECONDS = 660
SAID_SECONDS = 240
"""So much time passes for the product before what is missing counts as lost, and before a list that differs counts as
wrong. Housekeeping asks for what nobody asked for after five minutes."""

CALM_SECONDS = 6.0
"""A world at rest that still misses something is left alone so long, before time passes for it; a third of that where
the next tick of a schedule is all that it waits for."""


BY_ITSELF = frozenset({"vendors_deliver", "source_changes", "repair"})
"""Steps under which something may go wrong: what the daemon does by itself has to get over it. A command says what went
wrong under it, and the person types it again."""


class Served(History):
    """A history's imports: files over SFTP and S3, a cursor on a schedule, and those of people."""

    def __init__(self, place: Place, kind: Kind) -> None:
        super().__init__(place, kind)
        self.drops, self.visits = f"{self.name}drops", f"{self.name}visits"
        texts = ", ".join(f"{name} varchar(60)" for name in ("id", "note", "points", "contact"))
        moment = "timestamptz" if kind.engine == "postgresql" else "datetime"
        columns = f"{texts}, at {moment}"
        self.engine.execute(self.engine.table.format(name=f"w{self.name}", columns=columns))
        assert place.vendor is not None
        (place.vendor / self.name).mkdir()

    @property
    def imports(self) -> list[str]:
        return [self.upload, self.feed, self.orders, self.leavers, self.drops, self.visits]

    def partitions(self, import_name: str) -> dict[str, str]:
        """How Dagster's pages show the import's items; of windows only those that are loaded."""
        if import_name != self.visits:
            return super().partitions(import_name)
        keys = self.place.instance.get_materialized_partitions(AssetKey([self.name, import_name]))
        return dict.fromkeys(keys, "MATERIALIZED")

    def _write(self, path: str, content: Mapping[str, Any]) -> None:
        """Whole at once: the daemon may be reading."""
        file = self.place.folder / "project" / path
        draft = file.with_suffix(".new")
        super()._write(str(draft.relative_to(self.place.folder / "project")), content)
        draft.rename(file)


class UnderTheDaemon(Cursors, People):
    """A history under `ingest up`."""

    world: ClassVar[World]
    history: Served

    def begin_with(self, seed: int) -> None:
        """A table and its imports, of this history's own."""
        chance = random.Random(seed)
        self.place = self.world.place  # type: ignore[misc]  # of this history, not of its class
        self.story: list[str] = []
        self.waiting = Waiting(Truth())
        self.disturbed = False
        self.history = Served(self.world.place, chance.choice(KINDS))
        self.files, self.uploads, self.exports, self.minutes = {}, {}, [], set()
        self.objects: dict[str, File] = {}
        self.source, self.late = Table(), None
        self.cursor = Cursor(chance.choice([2, 3, 4]), 0, False, self.history.kind.exact, self.history.kind.before)
        self.settings = dict.fromkeys(self.history.imports, Setting(max_rejects=chance.choice([None, 1])))
        self.settings[self.history.orders] = Setting(duplicates="last")
        self.settings[self.history.leavers] = Setting("delete")
        self.settings[self.history.visits] = Setting()
        self.first_day = (self.world.now() - timedelta(days=3)).date()
        self.rows_of_days: dict[str, list[Row]] = {}
        for name in self.history.imports:
            self.write_yaml(name)

    @property
    def truth(self) -> Truth:  # type: ignore[override]
        return self.waiting.truth

    def write_yaml(self, name: str) -> None:
        """The import's YAML says what its setting is."""
        history, setting = self.history, self.settings[name]
        if name == history.orders:
            source: dict[str, Any] = {
                "connection": history.kind.engine, "query": history.query(self.cursor.limit, again=False),
                "cursor": {"column": "seq", "start": history.kind.start},
            }  # fmt: skip
            schedule = {"cron": "* * * * *"}
            history.configure(name, setting, source, ("id", "note", "points", "contact"), schedule=schedule)
        elif name == history.visits:
            columns = ("id", "note", "points", "contact")
            query = (
                f"SELECT {', '.join(columns)} FROM w{history.name} WHERE at >= {{windowStart}} AND at < {{windowEnd}}"
            )
            source = {
                "connection": history.kind.engine, "query": query,
                "window": {"every": "day", "start": self.first_day.isoformat()},
            }  # fmt: skip
            history.configure(name, setting, source, columns, schedule={"cron": "* * * * *"})
        elif name in {history.feed, history.drops}:
            connection = "vendor" if name == history.feed else "drops"
            source = {"connection": connection, "file": f"{history.name}/Points", "settle": "0s", "pick": "all"}
            history.configure(name, setting, source, FILE_COLUMNS, sensor={"every": "1s"})
        else:
            history.configure(name, setting, {"connection": "uploads"}, FILE_COLUMNS)

    def tell(self, words: str) -> None:
        """A line of the story that a failure prints; it is in a file, too, for whoever waits."""
        self.story.append(words)
        with (self.place.folder / "story.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%X')} {words}\n")

    def happen(self, accident: Any, *words: object) -> Told:
        """A person's command, beside the daemon."""
        self.tell(f"ingest {' '.join(map(str, words))}")
        return self.history.ingest(*words)

    # Vendors

    def some_rows(self, chance: random.Random) -> list[Row]:
        """Rows of a file; in two of three files all of them are good."""
        bad = chance.random() < 0.33
        keys = [chance.choice(KEYS) for _ in range(chance.randint(1, 6))] if bad else chance.sample(KEYS[:-1], 4)
        notes, points = (NOTES, POINTS) if bad else (["", "zwq", "=zwq"], ["", "1", "-2"])
        return [(key, chance.choice(notes), chance.choice(points), chance.choice(CONTACTS)) for key in keys]

    def put_file(self, name: str, rows: Sequence[Row], *, older: int = 0, readable: bool = True) -> None:
        """A file is on the SFTP server, newer than all others, or older than so many of them."""
        columns = FILE_COLUMNS if readable else ("x", *FILE_COLUMNS[1:])
        content, lines = csv_bytes(columns, rows, "\n")
        self.place.clock += 3
        minute = self.place.clock - 4 * older
        while minute in self.minutes:
            minute -= 1
        self.minutes.add(minute)
        assert self.place.vendor is not None
        draft = self.place.vendor / f".{name}"
        draft.write_bytes(content)
        when = (FIRST_TIME + timedelta(minutes=minute)).timestamp()
        os.utime(draft, (when, when))
        draft.rename(self.place.vendor / self.history.name / name)
        self.tell(f"SFTP: {name} of minute {minute}, {len(rows)} rows{'' if readable else ', unreadable'}")
        self._note(self.history.feed, self.files, name, File(minute, list(rows), lines, content), readable=readable)

    def put_object(self, name: str, rows: Sequence[Row], *, readable: bool = True) -> None:
        """An object is in the bucket."""
        columns = FILE_COLUMNS if readable else ("x", *FILE_COLUMNS[1:])
        content, lines = csv_bytes(columns, rows, "\n")
        second = self.world.put(f"{self.history.name}/{name}", content)
        self.tell(f"S3: {name} of second {second}, {len(rows)} rows{'' if readable else ', unreadable'}")
        self._note(self.history.drops, self.objects, name, File(second, list(rows), lines, content), readable=readable)

    def _note(self, import_name: str, files: dict[str, File], name: str, file: File, *, readable: bool) -> None:
        files[name] = file
        label = f"{name}@{file.minute}"
        order = (file.minute, serial_of(name))
        delivered = Delivered(label, name, order, file.rows, file.lines, file.content, readable)
        self.waiting.deliver(import_name, delivered)

    def name_of(self, file: str) -> str:
        """What the model calls the version of the SFTP server's file that is there now."""
        return self.waiting.at[self.history.feed, file]

    def vendors_deliver(self, chance: random.Random) -> None:
        """One or two files: new serials, older ones that come late, the same bytes, or new ones under an old name."""
        for _ in range(chance.randint(1, 2)):
            files = chance.choice([self.files, self.objects])
            rows = self.some_rows(chance)
            if files and chance.random() < 0.3:
                rows = chance.choice(list(files.values())).rows
            names = [f"Points_{1000 + len(files)}.csv", "Points.csv", "Points_7.csv", *files]
            name, readable = chance.choice([names[0], names[0], *names]), chance.random() > 0.1
            if files is self.files:
                self.put_file(name, rows, older=chance.choice([0, 0, 0, 2]), readable=readable)
            else:
                self.put_object(name, rows, readable=readable)

    def repair(self, chance: random.Random) -> None:
        """A vendor repairs a file that cannot be loaded, under its name."""
        for name, label, _ in sorted(self.waiting.open_items([self.history.feed, self.history.drops])):
            file = label.partition("@")[0]
            rows: list[Row] = [(key, "zwq repaired", "5", "") for key in KEYS[: chance.randint(1, 4)]]
            if name == self.history.feed:
                self.put_file(file, rows)
            else:
                self.put_object(file, rows)
            return

    # Sources

    def source_changes(self, chance: random.Random) -> None:
        """Rows come, some with the same value; or in a transaction that stays open; or that one is committed."""
        if self.late is not None and chance.random() < 0.5:
            self.tell("source: the late transaction is committed")
            self.commit(chance)
            return
        late = self.late is None and chance.random() < 0.3
        connection = self.history.connect()
        rank, ties = self.source.largest or 0, 0
        for _ in range(chance.randint(1, 6)):
            note, points = chance.choice(["", "zwq", "zwqé"]), chance.choice(["1", "2", "zwqx"])
            row: Row = (chance.choice(KEYS[:5]), note, points, "")
            step = chance.choice([0, 1, 1, 2])
            ties = ties + 1 if not step else 0
            if ties > 1:
                step, ties = 1, 0
            rank = min(rank + step, RANKS - 1)
            if not self.source.has(rank, row[0]) and sum(r.rank == rank for r in self.source.visible.values()) < 2:
                made = self.source.add(row, rank, late=late)
                self.history.insert(made, connection)
                self.tell(f"source: row {made.number} of rank {rank}{', not committed' if late else ''}")
        if late:
            self.late = connection
        else:
            connection.commit()
            connection.close()

    def rows_of_a_day(self, chance: random.Random) -> None:
        """A row comes late, in a window that may be loaded already; a person wants it, in the UI or by a command."""
        day = self.first_day + timedelta(days=chance.randint(0, 2))
        key = day.isoformat()
        rows = self.rows_of_days.setdefault(key, [])
        row: Row = (f"w{len(rows)}", "zwq", str(chance.randint(1, 9)), "")
        rows.append(row)
        values = ", ".join(f"'{cell}'" for cell in row)
        self.history.engine.execute(f"INSERT INTO w{self.history.name} VALUES ({values}, '{day.isoformat()} 12:00:00')")
        self.tell(f"source: a row in window {key}")
        if self.history.visits in self.waiting.resting:
            return
        self.waiting.asked.add(key)
        if chance.random() < 0.5:
            self.tell(f"UI: a backfill of window {key}")
            until(self.is_in_the_ui, 120)
            self.world.platform.backfill(self.history.name, self.history.visits, [key])
        else:
            told = self.happen(CALM, "run", self.history.visits, "--item", key)
            assert told.code == 0, told

    def is_in_the_ui(self) -> bool:
        """Whether the webserver has loaded the history's imports: a person backfills what is on the page."""
        try:
            return self.world.platform.partitions(self.history.name, self.history.visits) is not None
        except OSError:
            return False

    def queries(self) -> Queries:
        """What the imports that read databases can see now."""
        windows, day = {}, self.first_day
        while day < self.world.now().date():
            windows[day.isoformat()] = self.rows_of_days.get(day.isoformat(), [])
            day += timedelta(days=1)
        return Queries(self.history.orders, self.source, self.cursor, self.history.visits, windows)

    # Accidents and people

    def break_and_mend_yaml(self, chance: random.Random) -> None:
        """Files come before and while the import's YAML cannot be used, for a moment or for minutes."""
        name = chance.choice([self.history.feed, self.history.drops])
        if name in self.waiting.resting:
            return
        self.disturbed = True  # a run may find that it has no import
        if chance.random() < 0.6:
            self.put_one(name, chance)
            Accident("", lambda world: None, "queued").wait_for_its_moment(self.world)
        self.break_yaml(name)
        for _ in range(chance.randint(1, 3)):
            self.put_one(name, chance)
        self.come_to_rest(invalid=name)
        if chance.random() < 0.3:
            self.tell("ten minutes pass")
            self.world.pass_time(600)
        self.mend_yaml(name)

    def break_yaml(self, name: str) -> None:
        """The import's YAML cannot be used."""
        path = self.place.folder / "project" / "imports" / f"{name}.yaml"
        draft = path.with_suffix(".new")
        draft.write_text("database: [nobody\n")
        draft.rename(path)
        self.waiting.resting.add(name)
        self.tell(f"{name}.yaml is broken")

    def mend_yaml(self, name: str) -> None:
        """The import's YAML is what it was."""
        self.waiting.resting.discard(name)
        self.write_yaml(name)
        self.tell(f"{name}.yaml is mended")

    def put_one(self, name: str, chance: random.Random) -> None:
        """One new file of an import."""
        serial = f"Points_{2000 + len(self.files) + len(self.objects)}.csv"
        if name == self.history.feed:
            self.put_file(serial, self.some_rows(chance))
        else:
            self.put_object(serial, self.some_rows(chance))

    def pause_and_deliver(self, chance: random.Random) -> None:
        """An import is paused, or goes on; files may come meanwhile."""
        name = chance.choice([self.history.feed, self.history.drops, self.history.orders])
        self.pause_or_resume(name, chance)

    def pause_or_resume(self, name: str, chance: random.Random) -> None:
        """What an import does by itself stops, or begins again."""
        self.tell(f"ingest {'resume' if self.truth.states.get(name) == 'paused' else 'pause'} {name}")
        super().pause_or_resume(name, chance)
        if self.truth.states[name] == "paused":
            self.waiting.resting.add(name)
        else:
            self.waiting.resting.discard(name)

    def force_what_is_stale(self, chance: random.Random) -> None:
        """A person loads an item that was refused, whatever is newer; or gives it up."""
        keys = {label: key for key, label in self.history.keys.items()}
        found = sorted(self.waiting.open_items([self.history.feed, self.history.drops]))
        if not found:
            return
        name, label, status = chance.choice(found)
        files = self.files if name == self.history.feed else self.objects
        file = files[label.partition("@")[0]]
        if status == "refused" and b'"x"' not in file.content.split(b"\n")[0] and chance.random() < 0.6:
            if self.truth.verdict(name, label, file.rows, self.settings[name], forced=True).statuses == {"committed"}:
                self.load_file(name, label.partition("@")[0], file, CALM, "--item", keys[label], "--force")
                self.truth.last_content[name] = (file.content, self.settings[name])
            return
        told = self.happen(CALM, "skip", name, "--item", keys[label], "--yes", "--reason", "given up")
        assert told.code == 0, told
        self.truth.items[name, label].status = "skipped"
        self.truth.audit.append(("skipped", name))

    def upload_beside(self, chance: random.Random) -> None:
        """A person loads a file while the daemon works."""
        name = f"Up_{len(self.uploads)}.csv"
        self.uploads[name] = file = self.put(name, self.some_rows(chance), "\n", older=0)
        self.load_file(self.history.upload, name, file, CALM, "--file", self.history.folder / name)

    def edit(self, chance: random.Random) -> None:
        """Another mode, other limits; what comes next is loaded so."""
        name = chance.choice([self.history.feed, self.history.drops, self.history.upload])
        mode = chance.choice(["add_and_update", "add_only", "update_only"])
        self.settings[name] = Setting(mode, chance.random() < 0.5, max_rejects=chance.choice([None, None, 1]))
        self.write_yaml(name)
        self.tell(f"{name}.yaml: {self.settings[name]}")

    def correct(self, chance: random.Random) -> None:
        """A person corrects rejected rows and replays them."""
        self.correct_and_replay(chance.getrandbits(32), "\n", bom=False, accident=CALM)

    def set_cursor(self, chance: random.Random) -> None:
        """A person sets the cursor back or forth."""
        if self.source.largest is not None:
            self.set_the_cursor(chance)

    # Steps

    STEPS: ClassVar[Sequence[tuple[str, int]]] = (
        ("vendors_deliver", 6), ("source_changes", 3), ("repair", 2), ("break_and_mend_yaml", 1),
        ("pause_and_deliver", 1), ("force_what_is_stale", 2), ("upload_beside", 1), ("edit", 1), ("correct", 1),
        ("set_cursor", 1), ("rows_of_a_day", 2),
    )  # fmt: skip

    def live(self, seed: int, steps: int) -> None:
        """A history of so many steps, the same for the same seed."""
        chance = random.Random(seed)
        self.begin_with(seed)
        names = [name for name, weight in self.STEPS for _ in range(weight)]
        for _ in range(steps):
            accident, name = chance.choice([NONE, chance.choice(ACCIDENTS)]), chance.choice(names)
            self.step(getattr(self, name), accident if name in BY_ITSELF else NONE, chance.getrandbits(32))
        for name in list(self.waiting.resting):
            self.step(partial(self.pause_or_resume, name), NONE, 0)

    def step(self, act: Callable[[random.Random], None], accident: Accident, seed: int) -> None:
        """Something is done, perhaps something goes wrong, and all comes to rest."""
        self.disturbed = accident is not NONE
        self.tell(f"-- {getattr(act, '__name__', 'pause_or_resume')}, {accident}")
        with accident.beside(self.world):
            act(random.Random(seed))
        self.come_to_rest()
        self.disturbed = False

    # Comparing

    def agree(self) -> None:
        """As after every command."""
        self.come_to_rest()

    def drain(self, accident: Any) -> None:
        """The daemon drains the source by itself."""
        self.come_to_rest()

    def name_items(self) -> None:
        """Items that are new get the model's names."""
        for import_name, key, path, kind, at in self.place.rows(
            "SELECT import, key, path, kind, modified_at FROM ingest.items WHERE import = ANY(%s) ORDER BY created_at",
            self.history.imports,
        ):
            known = self.history.keys
            if key in known:
                continue
            if kind == "window":
                known[key] = key
            elif kind not in {"file", "upload"}:
                known[key] = f"{kind} {len(known)}"
            elif import_name == self.history.drops:
                known[key] = f"{Path(path).name}@{round(at.timestamp())}"
            else:
                known[key] = f"{Path(path).name}@{round((at - FIRST_TIME).total_seconds() / 60)}"

    def come_to_rest(self, *, invalid: str = "") -> None:
        """Waits until all that is due is loaded and nothing runs; then the world is what the model says.

        Args:
            invalid: an import whose YAML is broken.
        """
        passed, calm_since = 0, time.monotonic()
        for _ in pauses(longest=0.5):
            self.world.keep_up()
            try:
                if not self.world.is_idle():
                    raise NotYet("a run is queued or in progress")
                now = self._followed()
                self._compare(now, invalid)
            except Wrong as error:
                raise Wrong(self.told_by(error)) from error
            except (NotYet, psycopg.OperationalError):  # an accident may end the session that looks, too
                calm_since = time.monotonic()
                continue
            except AssertionError as error:
                calm = CALM_SECONDS / 3 if isinstance(error, OnSchedule) else CALM_SECONDS
                if time.monotonic() - calm_since < calm:
                    continue
                if passed >= (PATIENCE_SECONDS if isinstance(error, NotLoaded) else SAID_SECONDS):
                    raise Wrong(self.told_by(error)) from error
                passed += self.world.hurry()
                continue
            self.waiting = now
            return

    def told_by(self, error: BaseException) -> str:
        """The history, and what is wrong."""
        return "\n".join(["the history:", *self.story, "what is wrong:", str(error)])

    def _followed(self) -> Waiting:
        """The model after the daemon's new loads."""
        now = self.waiting.copy()
        self.name_items()
        self.seen = self.history.observe()
        loads = self.seen.loads
        for load in loads[len(now.truth.loads) :]:
            now.follow(load, self.settings, self.queries(), disturbed=self.disturbed)
        return now

    def _compare(self, now: Waiting, invalid: str) -> None:
        missing = now.missing(self.queries())
        words = f"not loaded: {missing}"
        if missing and all(entry.startswith((self.history.orders, self.history.visits)) for entry in missing):
            raise OnSchedule(words)
        if missing:
            raise NotLoaded(words)
        seen, true = self.seen, now.truth.seen()
        unsettled = now.gone | {(name, file.label) for name, due in now.due.items() for file in due}
        for items in (seen.items, true.items):
            assert isinstance(items, dict)
            for place in unsettled:
                items.pop(place, None)
        assert seen == true, difference(seen, true)
        for name in self.history.imports:
            shown = self.history.partitions(name)
            expected = {label: item.shown for (of, label), item in now.truth.items.items() if of == name}
            wrong = {
                label: (shown.get(label, "MISSING"), status)
                for label, status in expected.items()
                if status and (name, label) not in now.gone and shown.get(label, "MISSING") != status
            }
            assert not wrong, f"Dagster's partitions of {name}: {wrong}"
        told = self.history.leaks()
        if told:
            raise Wrong(f"a value was told: {told}")
        self._compare_status(now, invalid, unsettled)

    def _compare_status(self, now: Waiting, invalid: str, unsettled: set[tuple[str, str]]) -> None:
        answer = self.history.ingest("status", "--json")
        text = answer.text[min(answer.text.find(mark) for mark in "[{" if mark in answer.text) :]
        status, listed, _ = read_status(json.loads(text))
        names = set(self.history.imports)
        seen = {(e.import_name, self.history.label(e.item), e.state) for e in listed if e.import_name in names}
        seen = {entry for entry in seen if entry[:2] not in unsettled or entry[0] not in now.resting}
        true = now.open_items(names)
        assert seen == true, f"the list of open items: seen {seen - true}, true {true - seen}"
        for name in names - now.resting:
            assert status[name] == (expected := self._status(now, name)), f"{name} is {status[name]}, not {expected}"
        assert not invalid or status[invalid] == "invalid", status

    def _status(self, now: Waiting, name: str) -> str:
        if any(entry[0] == name for entry in now.open_items([name])):
            return "failed"
        loads = [
            load for load in now.truth.loads
            if load.import_name == name and now.truth.items[name, load.item].kind != "replay"
        ]  # fmt: skip
        last: Load | None = loads[-1] if loads else None
        if not any(load.status == "committed" for load in loads):
            return "completed" if last is not None and last.status == "skipped" else "scheduled"
        assert last is not None
        return "completed_with_rejects" if last.status == "committed" and last.rejected else "completed"
