"""Connections cut during the COPY and around the commit: the error says what is true, and a retry completes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from ingest_pipelines.errors import TargetUnavailable
from ingest_pipelines.merge import Target, apply
from ingest_pipelines.model import Run
from ingest_pipelines_tests.guarantees.world import CONSENT, World, read_world
from ingest_pipelines_tests.merge.deliveries import NOW, bound_import, delivery, item
from ingest_pipelines_tests.servers.cut_proxy import CutProxy, Fault

Proxies = Callable[[str, int], CutProxy]

RUN = Run(id="run-1", by="sensor")
BOUND = bound_import(subscriptions=[CONSENT])
ROWS = [(f"c{number:03}", "Gold", number, f"{number}@example.com") for number in range(300)]
COMMITTED = World().after("loyalty-1", ROWS, [])


def through(proxy: CutProxy, target: Target) -> Target:
    """The target as seen through the proxy."""
    parts = urlsplit(target.url)
    there = parts._replace(netloc=parts.netloc.replace(f"{parts.hostname}:{parts.port}", f"127.0.0.1:{proxy.port}"))
    return Target(there.geturl(), target.lock_timeout_seconds)


def proxied(cut_proxy: Proxies, target: Target) -> CutProxy:
    """A proxy in front of the target's server."""
    parts = urlsplit(target.url)
    assert parts.hostname is not None
    assert parts.port is not None
    return cut_proxy(parts.hostname, parts.port)


@pytest.mark.parametrize("percent", [1, 50, 99])
def test_a_connection_cut_during_the_copy_changes_nothing(
    target: Target, cut_proxy: Proxies, tmp_path: Path, percent: int
) -> None:
    proxy = proxied(cut_proxy, target)
    validated = delivery(tmp_path, BOUND, ROWS, of=item(1), chunks=100)
    copied = 0

    def cut(point: str) -> None:
        nonlocal copied
        copied += point == "copying"
        if copied == percent and point == "copying":
            proxy.cut_all()

    with pytest.raises(TargetUnavailable) as refusal:
        apply(validated, BOUND, through(proxy, target), RUN, NOW, fault=cut)
    assert refusal.value.retryable
    assert copied >= percent
    assert read_world(target.url) == World()
    assert apply(validated, BOUND, through(proxy, target), RUN, NOW).status == "committed"
    assert read_world(target.url) == COMMITTED


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
