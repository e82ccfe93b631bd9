"""What goes wrong while Dagster's daemon stands still is told by mail: `ingest watch` is another process."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ingest_pipelines_tests.guarantees.on_call.vendors import all_feeds
from ingest_pipelines_tests.guarantees.on_call.world import World, world_of
from ingest_pipelines_tests.servers.cut_proxy import Fault
from ingest_pipelines_tests.servers.fleet import Fleet

PATIENCE = 600.0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_mails_are_sent_while_the_daemon_stands_still(folder: Path, fleet: Fleet) -> None:
    feeds = {name: all_feeds()[name] for name in ("tills", "leads")}
    with world_of(folder, fleet, 1, feeds) as world:
        world.specification("tills")["late_after"] = "1m"
        world.write_import(feeds["tills"])
        world.platform.start()
        world.platform.wait_until_up()
        for name in feeds:
            world.vendors.deliver(name)
        _wait(lambda: all(world.loaded(name) for name in feeds))

        world.vendors.networks["agency_sftp"].break_with(Fault(refuse=True))
        world.vendors.networks["agency_sftp"].cut_all()
        _wait(lambda: "leads" in world.observe().troubled)
        [daemon] = world.platform.processes("daemon")
        daemon.send_signal(signal.SIGSTOP)
        try:
            # the next file of `tills` is late, the vendor of `leads` is out of reach for minutes, the daemon is silent
            expected = {"late: tills", "source: leads", "stuck: daemon"}
            _wait(lambda: expected <= _subjects(world))
            healthy, words = world.platform.health()
            assert healthy is False
            assert "no sign of life" in words
        finally:
            daemon.send_signal(signal.SIGCONT)
        told = len(world.oracle.letters)
        world.vendors.networks["agency_sftp"].mend()
        world.vendors.deliver("tills")
        _wait(lambda: {f"recovered: {what.partition(': ')[2]}" for what in expected} <= _subjects(world))
        subjects = [letter.subject for letter in world.oracle.letters[:told]]
        for what in expected:
            assert sum(what in subject for subject in subjects) == 1, subjects


def _subjects(world: World) -> set[str]:
    """`late: tills`: the beginnings of the subjects so far."""
    world.letters()
    return {": ".join(letter.subject.split("] ")[-1].split(": ")[:2]) for letter in world.oracle.letters}


def _wait(found: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not found():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.5)
