"""Deliveries, redeliveries, kills, replays, forced and concurrent loads in any order: the target is what a model says.

A failure prints the steps, and a line that repeats them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import StaleItem
from ingest_pipelines.merge import FAULT_POINTS, Target, apply
from ingest_pipelines.model import Item, LoadReport, Mode, Run, Validated
from ingest_pipelines_tests.guarantees.killable import KillableLoader, Load
from ingest_pipelines_tests.guarantees.world import CONSENT, Row, World, read_world
from ingest_pipelines_tests.merge.deliveries import NOW, Rejected, bound_import, delivery, item
from ingest_pipelines_tests.merge.targets import fresh_target

MODES: list[Mode] = ["add_and_update", "add_only", "update_only"]


def customers(names: str) -> st.SearchStrategy[list[Row]]:
    """Rows of distinct customers with those one-letter names."""
    row = st.tuples(
        st.sampled_from(names),
        st.sampled_from([None, "Gold", "Silver"]),
        st.sampled_from([None, 1, 2]),
        st.sampled_from([None, "x@example.com", "y@example.com"]),
    )
    return st.lists(row, max_size=5, unique_by=lambda each: each[0])


REJECTS = st.lists(st.integers(100, 105).map(Rejected), max_size=2, unique_by=lambda each: each.line)


class History(RuleBasedStateMachine):
    """Whatever happens to the loads of one table."""

    server_url: str
    folder: Path
    loader: KillableLoader

    @initialize()
    def begin(self) -> None:
        """A target of this history's own."""
        self.end = ExitStack()
        self.target = Target(self.end.enter_context(fresh_target(self.server_url)), 20)
        self.world = World()
        self.number = 0
        self.mode, self.keep = MODES[0], False
        self.last: tuple[Any, ...] | None = None
        self.here = self.folder / uuid4().hex
        self.here.mkdir()

    def teardown(self) -> None:
        if hasattr(self, "end"):
            self.end.close()

    @rule(mode=st.sampled_from(MODES), keep=st.booleans())
    def change_the_configuration(self, mode: Mode, keep: bool) -> None:
        self.mode, self.keep = mode, keep

    @rule(rows=customers("abcd"), rejected=REJECTS)
    def deliver(self, rows: list[Row], rejected: list[Rejected]) -> None:
        of, content = self.fresh(), (rows, rejected, self.mode, self.keep)
        report = self.load(self.validated(of, rows, rejected), by="ann")
        assert report.status == "committed"
        self.expect(of, rows, rejected)
        self.last = content

    @precondition(lambda self: self.last is not None)
    @rule()
    def deliver_the_same_again(self) -> None:
        assert self.last is not None
        rows, rejected, self.mode, self.keep = self.last
        of = self.fresh()
        report = self.load(self.validated(of, rows, rejected), by="sensor")
        after = self.after(self.world, of, rows, rejected)
        if (after.profiles, after.consents) != (self.world.profiles, self.world.consents):
            assert report.status == "committed"  # a replay, or another import, has changed the table since
            self.expect(of, rows, rejected)
            return
        assert report.status == "skipped"
        self.world = replace(self.world, loads=(*self.world.loads, (of.key, "skipped", 0, 0, 0, 0, 0, 0, 0)))
        self.agree()

    @precondition(lambda self: self.last is not None)
    @rule(rows=customers("abcd"), forced=st.booleans())
    def deliver_an_older_item(self, rows: list[Row], forced: bool) -> None:
        of = replace(self.fresh(), modified_at=NOW)
        validated = self.validated(of, rows, [])
        if forced:
            assert self.load(validated, by="ann", forced=True).status == "committed"
            self.expect(of, rows, [])
            self.last = (rows, [], self.mode, self.keep)
        else:
            with pytest.raises(StaleItem):
                self.load(validated, by="ann")
            self.agree()

    @rule(rows=customers("abcd"))
    def replay(self, rows: list[Row]) -> None:
        of = replace(self.fresh(), kind="replay")
        validated = self.validated(of, rows, [])
        run = Run(f"run-{self.number}", by="ann")
        first = apply(validated, self.bound(), self.target, run, NOW)
        assert apply(validated, self.bound(), self.target, run, NOW).load_id == first.load_id
        self.expect(of, rows, [])

    @rule(rows=customers("abcd"), rejected=REJECTS, point=st.sampled_from(FAULT_POINTS))
    def kill_a_load(self, rows: list[Row], rejected: list[Rejected], point: str) -> None:
        of, before = self.fresh(), self.world
        run = Run(f"run-{self.number}", by="ann")
        load = Load(self.validated(of, rows, rejected), self.bound(), self.target, run, NOW, dies_at=point)
        lived = self.loader.run(load)
        assert not lived or (point == "copying" and not rows)
        if lived or point == "committed":
            self.expect(of, rows, rejected)
            self.last = (rows, rejected, self.mode, self.keep)
        else:
            assert read_world(self.target.url) == before

    @rule(rows=customers("ab"), others=customers("cd"))
    def load_two_imports_at_once(self, rows: list[Row], others: list[Row]) -> None:
        of, second = self.fresh(), replace(self.fresh(), import_name="second")
        pairs = [
            (self.validated(of, rows, []), self.bound()),
            (self.validated(second, others, []), self.bound("second")),
        ]
        with ThreadPoolExecutor(2) as pool:
            loads = [
                pool.submit(apply, validated, bound, self.target, Run(f"run-{self.number}", by="ann"), NOW)
                for validated, bound in pairs
            ]
            assert [load.result().status for load in loads] == ["committed", "committed"]
        self.world = self.after(self.after(self.world, of, rows, []), second, others, [])
        found = read_world(self.target.url)
        assert sorted(found.loads) == sorted(self.world.loads)
        self.world = replace(self.world, loads=found.loads)  # either may have been first
        self.agree()
        self.last = (rows, [], self.mode, self.keep)

    def fresh(self) -> Item:
        """The next item, newer than all before."""
        self.number += 1
        return item(self.number)

    def bound(self, name: str = "loyalty") -> BoundImport:
        """The import as it is configured now."""
        return bound_import(
            name, mode=self.mode, empty="keep" if self.keep else "clear", subscriptions=[CONSENT],
            rejects={"unlimited": True}, shrink={"min_percent": 0},
        )  # fmt: skip

    def validated(self, of: Item, rows: list[Row], rejected: list[Rejected]) -> Validated:
        """The item, validated."""
        return delivery(self.here, self.bound(), rows, of=of, rejected=rejected)

    def load(self, validated: Validated, *, by: str, forced: bool = False) -> LoadReport:
        """A run of its own."""
        return apply(validated, self.bound(), self.target, Run(f"run-{self.number}", by=by, forced=forced), NOW)

    def after(self, world: World, of: Item, rows: list[Row], rejected: list[Rejected]) -> World:
        """The model's next state."""
        return world.after(of.key, rows, rejected, mode=self.mode, keep=self.keep)

    def expect(self, of: Item, rows: list[Row], rejected: list[Rejected]) -> None:
        """The model takes the item, and the target agrees."""
        self.world = self.after(self.world, of, rows, rejected)
        self.agree()

    def agree(self) -> None:
        """Target and model are the same."""
        assert read_world(self.target.url) == self.world


@pytest.mark.parametrize(
    ("part", "histories"), [(1, 4), *(pytest.param(part, 10, marks=pytest.mark.slow) for part in range(2, 6))]
)
def test_any_history_of_loads_agrees_with_the_model(server_url: str, tmp_path: Path, part: int, histories: int) -> None:
    with KillableLoader() as loader:
        facts = {"server_url": server_url, "folder": tmp_path, "loader": loader}
        run_state_machine_as_test(
            type("History", (History,), facts),
            settings=settings(
                max_examples=histories, stateful_step_count=8, print_blob=True, database=None,
                suppress_health_check=list(HealthCheck), phases=[Phase.generate, Phase.shrink],
            ),
        )  # fmt: skip
