"""What goes wrong while a command runs. An accident is over before the next step: networks are mended, locks are gone.

An accident says what it excuses. A command that says `done` has done it, whatever happened; one that was killed before
its COMMIT has done nothing; and so on. Nothing else may differ from what the oracle says without the accident.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import psycopg

from ingest_pipelines.merge.faults import FAULT_POINTS
from ingest_pipelines_tests.guarantees.killable_commands import BEFORE_THE_RUN, POINTS, Running
from ingest_pipelines_tests.servers.cut_proxy import Fault
from ingest_pipelines_tests.waiting import until

if TYPE_CHECKING:
    from ingest_pipelines_tests.guarantees.whole_way.place import History, Told

AFTER_THE_COMMIT = frozenset({"committed", "ended"})


@dataclass(frozen=True)
class Accident:
    """Something that happens to a command.

    Attributes:
        name: for the story that a failure prints.
        dies_at: the point at which its process gets SIGKILL.
        stops_at: the point at which it stands still while `meanwhile` happens.
        around: what is broken from before its begin to after its end; returns what mends it.
        passes: the command gets over it: it ends as it would have ended without.
        blocks: the command cannot begin.
    """

    name: str = "nothing"
    dies_at: str = ""
    stops_at: str = ""
    meanwhile: Callable[[History], Callable[[], None] | None] | None = None
    around: Callable[[History], Callable[[], None] | None] | None = None
    passes: bool = False
    blocks: bool = False

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def before_the_run(self) -> bool:
        """Whether its process dies when Dagster does not know the run yet."""
        return self.dies_at in BEFORE_THE_RUN

    @property
    def after_the_commit(self) -> bool:
        """Whether its process dies when all is committed."""
        return self.dies_at in AFTER_THE_COMMIT

    def happens_to(self, history: History, *words: object) -> Told:
        """The command, with the accident."""
        mend = self.around(history) if self.around else None
        undo = None
        try:
            begun = history.begin(*words, dies_at=self.dies_at, stops_at=self.stops_at)
            if self.stops_at and self.meanwhile is not None and _stops(begun[1]):
                undo = self.meanwhile(history)
                begun[1].signal(signal.SIGCONT)
            return history.ended(begun)
        finally:
            for back in (undo, mend):
                if back is not None:
                    back()
            history.place.mend()
            history.place.wait_until_alone()


def _stops(running: Running) -> bool:
    """Whether the process came to stand still; False: it ended before."""

    def status() -> str:
        return str(psutil.Process(running.pid).status())

    until(lambda: status() in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}, 240)
    return bool(status() == psutil.STATUS_STOPPED)


def _no_backend(history: History) -> None:
    history.place.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )


def _cut(history: History) -> None:
    history.place.network["target"].cut_all()


def _lose_the_answer(history: History) -> None:
    history.place.network["target"].break_with(Fault(cut_after_received=1, once=True))


def _lose_the_request(history: History) -> None:
    history.place.network["target"].break_with(Fault(cut_after_sent=1, once=True))


def _lose_answers_for_good(history: History) -> None:
    history.place.network["target"].break_with(Fault(cut_after_received=1))


def _row_lock(history: History) -> Callable[[], None]:
    """Another application has a row, and keeps it longer than the load waits."""
    connection = psycopg.connect(history.place.target)
    with suppress(psycopg.errors.UndefinedTable):
        connection.execute(f"SELECT FROM crm.{history.name} FOR UPDATE".encode())
    return connection.close


def _deadlock(history: History) -> Callable[[], None]:
    """Another application has the rows that the load wants, and wants what the load has."""
    connection = psycopg.connect(history.place.target)
    with suppress(psycopg.errors.UndefinedTable):
        connection.execute(f"SELECT FROM crm.{history.name} FOR UPDATE".encode())

    def want() -> None:
        with suppress(psycopg.Error):
            connection.execute("LOCK TABLE ingest.loads IN ACCESS EXCLUSIVE MODE")
        connection.close()

    thread = threading.Thread(target=want)
    thread.start()
    return thread.join


def _silent(name: str) -> Callable[[History], Callable[[], None]]:
    def stall(history: History) -> Callable[[], None]:
        proxy = history.place.network[name or history.kind.engine]
        proxy.break_with(Fault(silent=True))
        timer = threading.Timer(1.0, proxy.mend)
        timer.start()
        return timer.join

    return stall


def _target_away(history: History) -> None:
    history.place.network["target"].break_with(Fault(refuse=True))


def _source_cut(received: int, *, once: bool, reset: bool = True) -> Callable[[History], None]:
    def cut(history: History) -> None:
        fault = Fault(cut_after_received=received, once=once, reset=reset)
        history.place.network[history.kind.engine].break_with(fault)

    return cut


def _source_cut_sent(sent: int) -> Callable[[History], None]:
    def cut(history: History) -> None:
        history.place.network[history.kind.engine].break_with(Fault(cut_after_sent=sent, once=True))

    return cut


NONE = Accident(passes=True)

KILLS = [Accident(f"SIGKILL at {point}", dies_at=point) for point in (*POINTS, *FAULT_POINTS)]

TARGET = [
    *(
        Accident(f"backend terminated at {point}", stops_at=point, meanwhile=_no_backend, passes=True)
        for point in FAULT_POINTS[:-1]
    ),
    *(
        Accident(f"target cut at {point}", stops_at=point, meanwhile=_cut, passes=True)
        for point in ("copying", "merged", "closed")
    ),
    Accident("COMMIT lost", stops_at="closed", meanwhile=_lose_the_request, passes=True),
    Accident("answer to COMMIT lost", stops_at="closed", meanwhile=_lose_the_answer, passes=True),
    Accident("answers lost from COMMIT on", stops_at="closed", meanwhile=_lose_answers_for_good),
    Accident("rows locked by an application", stops_at="connected", meanwhile=_row_lock),
    Accident("deadlock with an application", stops_at="opened", meanwhile=_deadlock),
    Accident("target cut at staged", stops_at="staged", meanwhile=_cut, passes=True),
    Accident("target silent for a second", stops_at="merged", meanwhile=_silent("target"), passes=True),
    Accident("target away", around=_target_away, blocks=True),
]

SOURCE = [
    *(
        Accident(f"source cut once after {n} bytes", around=_source_cut(n, once=True), passes=True)
        for n in (1, 90, 400, 700, 1500)
    ),
    *(
        Accident(f"source truncated once after {n} bytes", around=_source_cut(n, once=True, reset=False), passes=True)
        for n in (200, 900)
    ),
    Accident("source silent for a second", around=_silent(""), passes=True),
    *(Accident(f"source cut once after {n} sent", around=_source_cut_sent(n), passes=True) for n in (1, 120, 300)),
    *(Accident(f"source cut always after {n} bytes", around=_source_cut(n, once=False)) for n in (1, 700)),
]


def accidents(*families: Sequence[Accident]) -> list[Accident]:
    """No accident, and those of the families: half of all steps go well."""
    found = [accident for family in families for accident in family]
    return [NONE] * len(found) + found
