"""What goes wrong with the platform, its servers and networks: before a step, or while a run of it is under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from dagster import DagsterRunStatus, RunsFilter

from ingest_pipelines_tests.guarantees.under_the_daemon.world import World
from ingest_pipelines_tests.servers.cut_proxy import Fault
from ingest_pipelines_tests.waiting import pauses

FROZEN_SECONDS = 4.0
MOMENT_SECONDS = 15.0
"""For the moment that an accident waits for; then it happens all the same."""


@dataclass(frozen=True)
class Accident:
    """Something that goes wrong.

    Attributes:
        name: for the story that a failure prints.
        when: `at once`, `queued` or `started`: it waits for such a run.
    """

    name: str
    act: Callable[[World], None]
    when: str = "at once"

    def __repr__(self) -> str:
        return f"<{self.name}, {self.when}>"

    @contextmanager
    def beside(self, world: World) -> Iterator[None]:
        """It happens beside the block, and is over after it."""
        errors: list[BaseException] = []

        def happen() -> None:
            try:
                self.wait_for_its_moment(world)
                self.act(world)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=happen)
        if self.when == "at once":
            self.act(world)
            yield
            return
        thread.start()
        try:
            yield
        finally:
            thread.join()
        if errors:
            raise errors[0]

    def wait_for_its_moment(self, world: World) -> None:
        """Returns once there is such a run, or after MOMENT_SECONDS."""
        statuses = {
            "queued": [DagsterRunStatus.QUEUED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED],
            "started": [DagsterRunStatus.STARTED],
        }[self.when]
        waited = 0.0
        for _ in pauses(longest=0.05):
            waited += 0.05
            if world.place.instance.get_runs_count(RunsFilter(statuses=statuses)) or waited > MOMENT_SECONDS:
                return


def _kill(role: str) -> Callable[[World], None]:
    return lambda world: [*world.platform.kill(role)].clear()


def _freeze(role: str) -> Callable[[World], None]:
    def freeze(world: World) -> None:
        world.platform.freeze(role, FROZEN_SECONDS, threading.Event())

    return freeze


def _end_sessions(world: World) -> None:
    """Of target and runs; a server that recovers ends them by itself."""
    query = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    )
    with psycopg.connect(world.server.admin_url, autocommit=True) as admin:
        admin.execute(query)


def _kill_backend(world: World) -> None:
    world.server.kill_backend(world.place.target.rpartition("/")[2])


def _kill_postmaster(world: World) -> None:
    world.server.kill_postmaster()
    world.server.restart()


def _second_daemon(world: World) -> None:
    world.platform.second_daemon(FROZEN_SECONDS, threading.Event())


def _second_up(world: World) -> None:
    world.platform.second_up(60)


def _network(name: str, fault: Fault) -> Callable[[World], None]:
    def break_it(world: World) -> None:
        proxy = world.place.network[name]
        proxy.break_with(fault)
        proxy.cut_all()
        threading.Event().wait(FROZEN_SECONDS)
        proxy.mend()

    return break_it


def _cut(name: str) -> Callable[[World], None]:
    return lambda world: world.place.network[name].cut_all()


NONE = Accident("nothing", lambda world: None)

ROLES = ("daemon", "run server", "run", "code server", "webserver", "watcher")

ACCIDENTS = [
    *(Accident(f"SIGKILL of {role}", _kill(role), when) for role in ROLES for when in ("at once", "queued", "started")),
    *(Accident(f"SIGSTOP of {role}", _freeze(role), when) for role in ROLES[:4] for when in ("queued", "started")),
    *(Accident("all sessions terminated", _end_sessions, when) for when in ("at once", "queued", "started")),
    Accident("SIGKILL of a backend", _kill_backend, "started"),
    *(Accident("SIGKILL of the postmaster", _kill_postmaster, when) for when in ("at once", "started")),
    Accident("a second daemon", _second_daemon, "at once"),
    Accident("a second daemon", _second_daemon, "queued"),
    Accident("a second ingest up", _second_up, "queued"),
    *(
        Accident(f"{name} cut", _cut(name), when)
        for name in ("target", "vendor", "drops")
        for when in ("queued", "started")
    ),
    *(
        Accident(f"{name} {words}", _network(name, fault), when)
        for name in ("target", "vendor", "drops")
        for words, fault in (("silent", Fault(silent=True)), ("refuses", Fault(refuse=True)))
        for when in ("at once", "started")
    ),
    Accident("the clock jumps ahead", lambda world: world.pass_time(90), "queued"),
]  # fmt: skip
