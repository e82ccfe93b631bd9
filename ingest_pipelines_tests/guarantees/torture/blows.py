"""What strikes a load: its process, its sessions, the server or a network, at a point or at any moment."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import psycopg

from ingest_pipelines.merge.faults import EARLY_FAULT_POINTS, FAULT_POINTS
from ingest_pipelines_tests.guarantees.torture.target import TargetServer
from ingest_pipelines_tests.servers.cut_proxy import CutProxy, Fault

Kind = Literal[
    "process killed at a point", "process killed at a moment", "session ended at a point", "session ended at a moment",
    "backend killed", "postmaster killed", "cut while receiving", "cut while sending", "commit cut off",
    "acknowledgement lost", "cut after the commit", "source cut while receiving", "source cut while sending",
    "source session ended",
]  # fmt: skip

WEIGHTS: dict[Kind, int] = {
    "process killed at a point": 300, "process killed at a moment": 300, "session ended at a point": 60,
    "session ended at a moment": 60, "backend killed": 8, "postmaster killed": 6, "cut while receiving": 100,
    "cut while sending": 100, "commit cut off": 20, "acknowledgement lost": 20, "cut after the commit": 20,
}  # fmt: skip
"""How often each kind comes, of about a thousand; a crash of the server takes a second, others milliseconds."""

OF_A_SOURCE: dict[Kind, int] = {
    "source cut while receiving": 100, "source cut while sending": 60, "source session ended": 40,
}  # fmt: skip
"""The same, added where a query reads the source."""

IN_THE_PIPELINE = ("landed", "validated")
AFTER_COMMIT = "committed"


@dataclass(frozen=True)
class Blow:
    """One blow, as it was drawn.

    Attributes:
        point: where it falls; "": after `share` of the time that a load usually takes.
        share: also the share of the bytes after which a connection is cut.
        reset: a connection is cut with RST; else with FIN.
    """

    kind: Kind
    point: str
    share: float
    reset: bool

    @property
    def must_be_old(self) -> bool:
        """Whether the load cannot have committed: it was stopped at a point before its COMMIT.

        A load whose early transaction breaks begins again, and may commit.
        """
        before_commit = self.point in FAULT_POINTS and self.point not in {"closed", AFTER_COMMIT}
        return before_commit or (bool(self.point) and self.kind.startswith("process") and self.point != AFTER_COMMIT)

    @property
    def is_of_the_network(self) -> bool:
        return "cut" in self.kind or "lost" in self.kind


def draw(chance: random.Random, *, cursor: bool, early: bool, own_server: bool) -> Blow:
    """A random blow that can fall on such a load.

    Args:
        own_server: the target's postmaster may be killed.
    """
    weights = {**WEIGHTS, **(OF_A_SOURCE if cursor else {})}
    if not own_server:
        del weights["postmaster killed"]
    [kind] = chance.choices(list(weights), list(weights.values()))
    around_the_commit = ("closed", AFTER_COMMIT) * 3
    points = [
        *FAULT_POINTS, *around_the_commit, *(() if cursor else IN_THE_PIPELINE), *(EARLY_FAULT_POINTS if early else ())
    ]  # fmt: skip
    point = {"commit cut off": "closed", "acknowledgement lost": "closed", "cut after the commit": AFTER_COMMIT}.get(
        kind, chance.choice(points) if kind.endswith("a point") else ""
    )
    return Blow(kind, point, chance.random(), chance.random() < 0.7)


class Striker:
    """Deals blows to the loads of one target.

    Attributes:
        hit: whether the last blow met anything: a session, a connection, a live process.
    """

    def __init__(
        self, server: TargetServer, database: str, network: CutProxy, source: CutProxy, source_url: str
    ) -> None:
        self._server, self._database = server, database
        self._network, self._source, self._source_url = network, source, source_url
        self.hit = False

    def prepare(self, blow: Blow, sent: int, received: int, source_sent: int, source_received: int) -> None:
        """Before the load begins: a cut comes after a share of the bytes that a connection usually exchanges."""
        self.hit = False
        network, most = {
            "cut while receiving": (self._network, received), "cut while sending": (self._network, sent),
            "source cut while receiving": (self._source, source_received),
            "source cut while sending": (self._source, source_sent),
        }.get(blow.kind, (None, 0))  # fmt: skip
        if network is None:
            return
        limit = 1 + int(blow.share * 1.5 * most)  # some connections exchange more than others
        receiving = blow.kind.endswith("receiving")
        network.break_with(
            Fault(
                cut_after_received=limit if receiving else None,
                cut_after_sent=None if receiving else limit,
                reset=blow.reset,
                once=True,
            )
        )
        self._cuts = self._network.cuts + self._source.cuts

    def finish(self, blow: Blow) -> None:
        """After the load: the networks work again."""
        if blow.kind.endswith(("receiving", "sending")):
            self.hit = self._network.cuts + self._source.cuts > self._cuts
        self._network.mend()
        self._source.mend()

    def strike(self, blow: Blow, pid: int) -> None:
        """The blow falls."""
        kind = blow.kind
        if kind.startswith("process"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        elif kind.startswith("session"):
            self.hit = bool(self._server.end_sessions(self._database))
        elif kind == "backend killed":
            self.hit = self._server.kill_backend(self._database)
        elif kind == "postmaster killed":
            self._server.kill_postmaster()
            self.hit = True
        elif kind == "acknowledgement lost":
            self._network.break_with(Fault(cut_after_received=1, reset=blow.reset, once=True))
            self.hit = True
        elif kind == "source session ended":
            self.hit = _end_sessions(self._source_url) > 0
        else:
            assert kind in {"commit cut off", "cut after the commit"}, kind
            self._network.cut_all()
            self.hit = True


def _end_sessions(url: str) -> int:
    """Ends all sessions of the URL's database; how many there were."""
    name = urlsplit(url).path[1:]
    with psycopg.connect(urlsplit(url)._replace(path="/postgres").geturl(), autocommit=True) as admin:
        row = admin.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s", [name]
        ).fetchone()
    assert row is not None
    return int(row[0])


def wait_until_nobody_works(url: str, seconds: float = 60.0) -> None:
    """Returns once the server behind the URL lets us in, and no session of a killed load may still commit."""
    deadline = time.monotonic() + seconds
    others = (
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend' LIMIT 1"
    )
    while True:
        with suppress(psycopg.OperationalError), psycopg.connect(url, connect_timeout=5, autocommit=True) as connection:
            if connection.execute(others).fetchone() is None:
                return
        assert time.monotonic() < deadline, "the target does not come back, or a load's session stays"
        time.sleep(0.02)
