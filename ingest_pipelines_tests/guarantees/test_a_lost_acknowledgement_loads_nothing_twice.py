"""COMMIT reached the target, and its answer was lost: the command says what is true; nothing is loaded twice."""

from __future__ import annotations

import csv
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from ingest_pipelines.errors import TargetUnavailable
from ingest_pipelines.merge import Target, apply
from ingest_pipelines_tests.guarantees.distant import (
    BOUND,
    COMMITTED,
    ROWS,
    RUN,
    Proxies,
    proxied,
    through,
    url_through,
)
from ingest_pipelines_tests.guarantees.killable_commands import Running
from ingest_pipelines_tests.guarantees.tills import Tills, tills_of
from ingest_pipelines_tests.guarantees.world import World, read_world
from ingest_pipelines_tests.merge.deliveries import NOW, delivery, item
from ingest_pipelines_tests.merge.targets import fresh_target
from ingest_pipelines_tests.orchestration.storages import fresh_storage
from ingest_pipelines_tests.servers.cut_proxy import CutProxy, Fault


@pytest.mark.parametrize("still_broken", [0, 1])
def test_a_lost_acknowledgement_of_the_commit_is_resolved_from_the_ledger(
    target: Target, cut_proxy: Proxies, tmp_path: Path, still_broken: int
) -> None:
    proxy = proxied(cut_proxy, target)
    distant = through(proxy, target)

    class Reconnecting(Target):
        """Finds the network mended when it connects again, or once more after that."""

        def connect(self, options: Sequence[str] = ()) -> psycopg.Connection:
            if proxy.cuts == 1:
                proxy.break_with(Fault(refuse_first=still_broken))
            return super().connect(options)

    def cut(point: str) -> None:
        if point == "closed":  # COMMIT still gets through; its answer does not
            proxy.break_with(Fault(cut_after_received=1))

    validated = delivery(tmp_path, BOUND, ROWS, of=item(1))
    report = apply(validated, BOUND, Reconnecting(distant.url, distant.lock_timeout_seconds), RUN, NOW, fault=cut)
    assert proxy.cuts == 1 + still_broken
    assert report.status == "committed"
    assert report.counts.inserted == len(ROWS)
    assert read_world(target.url) == COMMITTED


def test_a_commit_that_never_arrived_is_not_reported_as_one(target: Target, cut_proxy: Proxies, tmp_path: Path) -> None:
    proxy = proxied(cut_proxy, target)
    validated = delivery(tmp_path, BOUND, ROWS, of=item(1))

    def cut(point: str) -> None:
        if point == "closed":
            proxy.cut_all()

    with pytest.raises(TargetUnavailable):
        apply(validated, BOUND, through(proxy, target), RUN, NOW, fault=cut)
    assert read_world(target.url) == World()
    assert apply(validated, BOUND, target, RUN, NOW).status == "committed"
    assert read_world(target.url) == COMMITTED


def test_a_target_that_stays_away_after_the_commit_is_said_to_be_unknown(
    target: Target, cut_proxy: Proxies, tmp_path: Path
) -> None:
    proxy = proxied(cut_proxy, target)
    validated = delivery(tmp_path, BOUND, ROWS, of=item(1))

    def cut(point: str) -> None:
        if point == "closed":
            proxy.break_with(Fault(cut_after_received=1))

    with pytest.raises(TargetUnavailable) as doubt:
        apply(validated, BOUND, through(proxy, target), RUN, NOW, fault=cut)
    assert "ledger" in doubt.value.hint
    assert apply(validated, BOUND, target, RUN, NOW).counts.inserted == len(ROWS)
    assert read_world(target.url) == COMMITTED


LOST = Fault(cut_after_received=1, once=True)
LOST_AND_AWAY = Fault(cut_after_received=1)


@pytest.fixture(scope="module")
def distant(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tills, CutProxy]]:
    """A shop whose target is behind a proxy."""
    with fresh_target(postgres_url) as target, fresh_storage(postgres_url) as runs:
        parts = urlsplit(target)
        with CutProxy(str(parts.hostname), int(parts.port or 0)) as proxy:
            folder, through_it = tmp_path_factory.mktemp("distant") / "tills", url_through(proxy, target)
            with tills_of(folder, target, runs, through=through_it) as tills:
                yield tills, proxy


@pytest.mark.slow
def test_a_commit_whose_answer_is_lost_is_one_load(distant: tuple[Tills, CutProxy]) -> None:
    tills, proxy = distant
    tills.deliver()
    running = _commit(tills, proxy, LOST, "run", "points")
    assert running.wait() == 0, running.text
    assert "committed" in running.text
    _is_loaded_once(tills)


@pytest.mark.slow
def test_a_target_that_stays_away_after_the_commit_is_asked_by_the_next_run(distant: tuple[Tills, CutProxy]) -> None:
    tills, proxy = distant
    tills.deliver()
    running = _commit(tills, proxy, LOST_AND_AWAY, "run", "points")
    assert running.wait() == 3, running.text
    assert "Traceback" not in running.text
    assert tills.profiles() == tills.expected
    proxy.mend()
    tills.failed.add(tills.last_run())
    tills.run("points")
    _is_loaded_once(tills)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [LOST, LOST_AND_AWAY])
def test_a_replay_whose_answer_is_lost_resolves_its_reject_once(distant: tuple[Tills, CutProxy], fault: Fault) -> None:
    tills, proxy = distant
    tills.shop.write_import(rejects={"max_rows": 5})
    tills.deliver()  # newer than the last one
    good, bad = f"good-{tills.delivered}", f"bad-{tills.delivered}"
    tills.append("points", f"{good},Gold,1,2024-05-01\n{bad},Gold,many,2024-05-01\n")
    tills.run("points")
    tills.expected[good] = 1
    export, corrected = (tills.shop.home / f"{name}-{tills.delivered}.csv" for name in ("export", "corrected"))
    assert tills.runner.run("rejects", "export", "points", "--output", str(export))[0] == 0
    with export.open(newline="") as rows:
        header, reject = csv.reader(rows)
    reject[header.index("Points")] = "2"
    with corrected.open("w", newline="") as rows:
        csv.writer(rows).writerows([header, reject])
    running = _commit(tills, proxy, fault, "rejects", "replay", "points", str(corrected))
    assert running.wait() == (0 if fault is LOST else 3), running.text
    proxy.mend()
    tills.expected[bad] = 2
    assert tills.profiles() == tills.expected
    _, text = tills.runner.run("rejects", "replay", "points", str(corrected))
    assert "Traceback" not in text
    assert tills.shop.rows(f"SELECT resolved_at IS NULL FROM ingest.rejects WHERE key = '{bad}'") == [(False,)]
    assert tills.shop.rows(f"SELECT count(*) FROM ingest.events WHERE key = '{bad}'") == [(1,)]
    assert tills.profiles() == tills.expected


def _commit(tills: Tills, proxy: CutProxy, fault: Fault, *words: str) -> Running:
    """The command, which sends COMMIT into a network with the fault."""
    running = tills.runner.start(*words, stops_at="closed")
    running.wait_until_stopped()
    proxy.break_with(fault)
    running.signal(signal.SIGCONT)
    return running


def _is_loaded_once(tills: Tills) -> None:
    assert tills.profiles() == tills.expected
    assert tills.shop.rows("SELECT sum(inserted) FROM ingest.loads WHERE status = 'committed'") == [
        (len(tills.expected),)
    ]
    assert tills.shop.rows("SELECT count(*), count(DISTINCT key) FROM ingest.events") == [(len(tills.expected),) * 2]
    assert tills.shop.rows("SELECT item FROM ingest.loads WHERE status <> 'committed'") == []
    tills.is_at_rest()
