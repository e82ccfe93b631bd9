"""What waits for the daemon, and what it may do with it: beside the model of the whole way, in plain Python."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from ingest_pipelines_tests.guarantees.whole_way.oracle import Load, Row, Setting, Truth
from ingest_pipelines_tests.guarantees.whole_way.sources import Cursor, Drain, Lost, Table

BROKEN = frozenset({"failed", "refused"})
"""Statuses of items that a person must look at."""


class Wrong(AssertionError):
    """The product did what it may not do; waiting makes it no better."""


class NotYet(AssertionError):
    """Something is still to come."""


class NotLoaded(AssertionError):
    """Something that is due is not loaded yet."""


class OnSchedule(NotLoaded):
    """What is missing comes with the next tick of a schedule."""


@dataclass(frozen=True)
class Delivered:
    """A version of a file at a vendor.

    Attributes:
        label: names the version; the import's items are called so.
        order: its place among the import's items.
        readable: False: the header lacks a column, so the item is refused before any row is judged.
    """

    label: str
    path: str
    order: tuple[int, int]
    rows: Sequence[Row]
    lines: Sequence[int]
    content: bytes
    readable: bool = True


@dataclass(frozen=True)
class Queries:
    """Two imports that read databases, and what is there to read.

    Attributes:
        orders: the import that reads the table by the cursor.
        visits: the import that reads windows.
        windows: rows by the key of their window; those of windows that have ended.
    """

    orders: str
    table: Table
    cursor: Cursor
    visits: str
    windows: Mapping[str, Sequence[Row]]


@dataclass
class Waiting:
    """The model, and what the daemon has still to do.

    Attributes:
        due: per import the files that are to be loaded, in their order.
        gone: versions that were replaced before a load settled them: a run of one loads its replacement, or nothing.
        at: per import and path the version that is there now.
        tried: versions of which a load failed for no reason of their own: newer ones need not wait for them any more.
        asked: windows that a person wants; of the others those after the first one that was loaded are due.
        first_window: the first that was loaded.
        resting: imports that are paused, or whose YAML is broken: what waits for them may wait.
    """

    truth: Truth
    due: dict[str, list[Delivered]] = field(default_factory=dict)
    gone: set[tuple[str, str]] = field(default_factory=set)
    at: dict[tuple[str, str], str] = field(default_factory=dict)
    tried: set[tuple[str, str]] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    first_window: str = ""
    resting: set[str] = field(default_factory=set)

    def copy(self) -> Self:
        """The same, apart."""
        return copy.deepcopy(self)

    def deliver(self, import_name: str, file: Delivered) -> None:
        """The file is at its vendor; what was at its path is not any more."""
        due = self.due.setdefault(import_name, [])
        for old in [old for old in due if old.path == file.path]:
            due.remove(old)
            self.gone.add((import_name, old.label))
        due.append(file)
        due.sort(key=lambda each: each.order)
        self.at[import_name, file.path] = file.label

    def ask_again(self, import_name: str, file: Delivered) -> None:
        """A person wants the item after all."""
        self.due.setdefault(import_name, []).append(file)

    def follow(self, load: Load, settings: Mapping[str, Setting], queries: Queries, *, disturbed: bool) -> None:
        """The daemon made this load.

        Args:
            disturbed: something went wrong meanwhile: a load may have failed for no reason of its own.

        Raises:
            Wrong: it may not.
        """
        name = load.import_name
        if name == queries.orders:
            self._follow_drain(load, settings[name], queries, disturbed=disturbed)
            return
        if name == queries.visits:
            self._follow_window(load, settings[name], queries, disturbed=disturbed)
            return
        if (name, load.item) in self.gone:
            self.truth.register(name, load.item, "file", None)
            self._note(load)
            if load.status == "committed":
                raise Wrong(f"{name} {load.item} was replaced, and is committed")
            return
        due = self.due.get(name, [])
        file = next((each for each in due if each.label == load.item), None)
        if file is None:
            raise Wrong(f"nobody waits for this load: {load}")
        self.truth.register(name, file.label, "file", file.order)
        settled = self._settle(load, file, settings[name], disturbed=disturbed)
        if not settled:
            return
        before = [each.label for each in due if each.order < file.order and (name, each.label) not in self.tried]
        if before:
            raise Wrong(f"{name} {file.label} was loaded before {before}")
        due.remove(file)

    def _settle(self, load: Load, file: Delivered, setting: Setting, *, disturbed: bool) -> bool:
        """Whether the load settles the file; False: it failed because of what went wrong beside it."""
        truth, name = self.truth, load.import_name
        verdict = truth.verdict(name, file.label, file.rows, setting, forced=False)
        statuses = verdict.statuses if file.readable else {"refused"}
        repeats = file.readable and truth.repeats(name, file.label, file.rows, file.content, setting)
        if load.status == "skipped" and repeats:
            truth.find_nothing_new(name, file.label)
        elif load.status == "committed" and "committed" in statuses and not repeats:
            truth.load(name, file.label, file.rows, file.lines, setting)
        elif load.status in statuses and load.status != "committed":
            judged = load.read > 0
            given = (file.rows, file.lines, setting) if judged else ((), (), None)
            truth.fail(name, file.label, load.status, *given)
            return True
        elif load.status == "failed" and not load.read and disturbed:
            self._note(load)
            self.tried.add((name, file.label))
            return False
        else:
            raise Wrong(f"{name} {file.label} is {load.status}; it may be {sorted(statuses)}, repeated: {repeats}")
        truth.last_content[name] = (file.content, setting)
        return True

    def _follow_window(self, load: Load, setting: Setting, queries: Queries, *, disturbed: bool) -> None:
        truth, name, key = self.truth, load.import_name, load.item
        truth.register(name, key, "window", None)
        if load.status != "committed":
            if not disturbed:
                raise Wrong(f"a window failed: {load}")
            self._note(load)
            return
        settled = truth.items[name, key].status == "committed"
        if key not in queries.windows or (settled and key not in self.asked):
            raise Wrong(f"nobody waits for window {key} of {name}")
        rows = queries.windows[key]
        truth.load(name, key, rows, range(len(rows)), setting)
        self.asked.discard(key)
        self.first_window = self.first_window or key

    def _follow_drain(self, load: Load, setting: Setting, queries: Queries, *, disturbed: bool) -> None:
        truth, name, label = self.truth, load.import_name, load.item
        truth.register(name, label, "cursor", None)
        if load.status != "committed":
            if not disturbed:
                raise Wrong(f"a drain failed: {load}")
            self._note(load)
            return
        committed = truth.cursors.get(name)
        assert committed is None or isinstance(committed, int)
        drain = Drain(queries.table, queries.cursor, committed)
        try:
            chunk = drain.take(load.read)
        except Lost as error:
            raise Wrong(f"{name} {label}: {error}") from error
        truth.chunk(name, label, chunk, setting, committed=drain.committed)
        if drain.committed is None:
            truth.cursors.pop(name, None)

    def _note(self, load: Load) -> None:
        """A load that changed nothing, as it stands in the ledger."""
        self.truth.loads.append(load)
        item = self.truth.items[load.import_name, load.item]
        item.status, item.shown = load.status, ""

    def missing(self, queries: Queries) -> list[str]:
        """What the daemon has still to load, and may."""
        left = [
            f"{name} {file.label}" for name, due in self.due.items() if name not in self.resting for file in due
        ]  # fmt: skip
        orders, visits = queries.orders, queries.visits
        committed = self.truth.cursors.get(orders)
        assert committed is None or isinstance(committed, int)
        if orders not in self.resting and queries.table.after(committed, queries.cursor):
            left.append(f"{orders}, rows after {committed}")
        loaded = {label for (name, label), _ in self.truth.items.items() if name == visits}
        due = {key for key in queries.windows if self.first_window and key >= self.first_window}
        wanted = due - loaded | self.asked
        left += [f"{visits} {key}" for key in sorted(wanted) if visits not in self.resting]
        left += [
            f"{name} {label} is {item.status}"
            for (name, label), item in self.truth.items.items()
            if item.kind in {"cursor", "window"} and item.status != "committed" and name not in self.resting
        ]
        return left

    def open_items(self, imports: Collection[str]) -> set[tuple[str, str, str]]:
        """Import, item and state of all that should be in the table, is not, and does not get there by itself."""
        return {
            (name, label, item.status)
            for (name, label), item in self.truth.items.items()
            if name in imports and item.kind != "replay" and item.status in BROKEN
            if not self._is_replaced(name, label)
        }

    def _is_replaced(self, name: str, label: str) -> bool:
        """Whether a newer version is at the file's path."""
        path = label.partition("@")[0]
        return (name, label) in self.gone or self.at.get((name, path), label) != label
