"""Histories under `ingest up`, with faults between and inside steps: after each step the world is what one model says.

The model is that of the whole way; `under_the_daemon` has the machine. One history is written down here; the slow ones
are drawn. HISTORIES_SEED repeats them.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import pytest

from ingest_pipelines_tests.guarantees.under_the_daemon.accidents import ACCIDENTS, NONE
from ingest_pipelines_tests.guarantees.under_the_daemon.history import UnderTheDaemon
from ingest_pipelines_tests.guarantees.under_the_daemon.world import World, world_of
from ingest_pipelines_tests.servers import s3, sftp
from ingest_pipelines_tests.servers.fleet import Fleet

SEED = int(os.environ.get("HISTORIES_SEED", time.time_ns() // 1_000_000))
STEPS = 12


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, fleet: Fleet, sftp_server: sftp.SftpServer, s3_server: s3.S3Server
) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("daemon")
    with world_of(folder, fleet, sftp_server, s3_server) as world:
        yield world


def history_in(world: World) -> UnderTheDaemon:
    """A history that has not begun."""
    history: UnderTheDaemon = type("Here", (UnderTheDaemon,), {"world": world})()
    return history


def test_the_daemon_agrees_with_the_model(world: World) -> None:
    """Files over SFTP and S3 while a run is killed; two around a broken YAML, of which one is late and is given up."""
    accidents = {repr(accident): accident for accident in ACCIDENTS}
    history = history_in(world)

    def files_come(chance: random.Random) -> None:
        for name in ("Points_1000.csv", "Points_1001.csv"):
            history.put_file(name, history.some_rows(chance))
        history.put_object("Points.csv", history.some_rows(chance))

    def files_come_around_a_broken_yaml(chance: random.Random) -> None:
        history.break_yaml(history.history.feed)
        history.put_file("Points_1002.csv", history.some_rows(chance), older=2)
        history.put_file("Points_1003.csv", history.some_rows(chance))
        history.come_to_rest(invalid=history.history.feed)
        history.mend_yaml(history.history.feed)

    history.begin_with(seed=1)
    history.step(files_come, accidents["<SIGKILL of run, started>"], seed=1)
    history.step(files_come_around_a_broken_yaml, NONE, seed=2)
    assert history.truth.items[history.history.feed, history.name_of("Points_1002.csv")].status == "refused"
    history.step(history.force_what_is_stale, NONE, seed=4)
    history.teardown()


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("number", range(20))
def test_drawn_histories_under_the_daemon_agree_with_the_model(world: World, number: int) -> None:
    history = history_in(world)
    try:
        history.live(SEED + number, STEPS)
    except Exception:
        print(f"HISTORIES_SEED={SEED + number} repeats this history as number 0")  # noqa: T201
        raise
    finally:
        history.teardown()
