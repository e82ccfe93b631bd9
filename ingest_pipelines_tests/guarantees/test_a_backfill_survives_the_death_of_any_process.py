"""Daemon, webserver, code servers, run server and a run are killed in a backfill with a failing window in the middle.

Afterwards the list of open items is true, Dagster's partitions agree with it, and all that can be loaded is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ingest_pipelines_tests.guarantees.on_call.hour import on_call
from ingest_pipelines_tests.guarantees.on_call.oracle import BROKEN, OWN_ROWS, Observed
from ingest_pipelines_tests.guarantees.on_call.people import People
from ingest_pipelines_tests.guarantees.on_call.vendors import all_feeds
from ingest_pipelines_tests.guarantees.on_call.world import world_of
from ingest_pipelines_tests.servers.fleet import Fleet

NAME = "visits"

VICTIMS = ("daemon", "webserver", "code server", "run server", "run")

FAST_VICTIMS = ("daemon", "webserver", "code server", "run")
"""The run server dies in `orchestration/test_run_server.py`, too."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("windows", "victims"),
    [(5, FAST_VICTIMS), *(pytest.param(many, VICTIMS, marks=pytest.mark.slow) for many in (6, 12, 60))],
    ids=["5", "6", "12", "60"],
)
def test_a_backfill_survives_the_death_of_any_process(
    folder: Path, fleet: Fleet, windows: int, victims: Sequence[str]
) -> None:
    with world_of(folder, fleet, windows, {NAME: all_feeds()[NAME]}) as world:
        bad = windows // 2
        world.vendors.add_windows(NAME, windows, bad=[bad])
        world.platform.start()
        world.platform.wait_until_up()
        people = People(world, seed=1)
        people.backfill(NAME, windows, bad=bad)
        for number, victim in enumerate(victims):
            loaded = windows * number // (len(victims) + 1)
            world.wait_for(lambda loaded=loaded: len(world.loaded(NAME)) >= loaded, keep_up=True)  # type: ignore[misc]
            world.wait_for(lambda victim=victim: world.platform.kill(victim), keep_up=True)  # type: ignore[misc]
        every = set(range(1, windows + 1))
        good = every - {bad + 1}
        world.wait_for(lambda: set(world.loaded(NAME)) == good, keep_up=True)

        keys = {delivery.number: delivery.label for delivery in world.oracle.deliveries[NAME]}

        def observe() -> Observed:
            """Without the window that ends with the hour, if one does meanwhile."""
            observed = world.observe()
            return replace(observed, listed=[entry for entry in observed.listed if entry.item in keys.values()])

        def partitions_are(green: set[str], red: set[str]) -> bool:
            try:
                found = world.platform.partitions("accounts", NAME) or (set(), set())
            except OSError:  # the webserver is being started again
                return False
            return (found[0] & set(keys.values()), found[1]) == (green, red)

        def settled() -> Observed | None:
            observed = observe()
            return observed if {entry.state for entry in observed.listed} <= BROKEN else None

        observed = world.wait_for(settled, keep_up=True)
        assert observed.own_rows[NAME] == dict.fromkeys(good, OWN_ROWS)
        assert observed.strange == []
        [entry] = observed.listed
        failing = world.oracle.deliveries[NAME][bad]
        assert (entry.item, entry.state) == (failing.label, "failed")
        world.wait_for(lambda: partitions_are({keys[number] for number in good}, {failing.label}), keep_up=True)

        world.vendors.fix_windows(NAME)
        assert world.platform.command("run", NAME, "--failed").returncode == 0
        observed = observe()
        assert (observed.own_rows[NAME], observed.listed) == (dict.fromkeys(every, OWN_ROWS), [])
        world.wait_for(lambda: partitions_are(set(keys.values()), set()), keep_up=True)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_an_hour_on_call_finds_the_list_true_with_a_fault_a_minute(folder: Path, fleet: Fleet) -> None:
    printed: list[str] = []
    verdict = on_call(folder, fleet, minutes=60, seed=1, tell=printed.append)
    assert verdict.disagreements == [], "\n".join(printed)
