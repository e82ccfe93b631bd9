"""Connections cut at any byte, in either direction, or stalled: the error says what is true, and a retry completes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ingest_pipelines.errors import TargetUnavailable
from ingest_pipelines.merge import Target, apply
from ingest_pipelines.model import Run
from ingest_pipelines_tests.guarantees.distant import BOUND, COMMITTED, ROWS, RUN, Proxies, proxied, through
from ingest_pipelines_tests.guarantees.world import World, read_world
from ingest_pipelines_tests.merge.deliveries import NOW, delivery, item
from ingest_pipelines_tests.servers.cut_proxy import Fault
from ingest_pipelines_tests.waiting import until


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


CUTS = [6, pytest.param(400, marks=pytest.mark.slow)]
"""At how many bytes of a load the connection is cut, in each direction, on each version of Postgres."""


@pytest.mark.parametrize("cuts", CUTS)
@pytest.mark.parametrize("direction", ["sent", "received"])
def test_a_connection_cut_at_any_byte_leaves_the_target_old_or_new(
    target: Target, cut_proxy: Proxies, tmp_path: Path, direction: str, cuts: int
) -> None:
    """From the login to the acknowledgement of the commit, and the load is booked once."""
    proxy = proxied(cut_proxy, target)
    distant = through(proxy, target)

    def changed(number: int) -> list[tuple[str, str, int, str]]:
        return [(key, "Gold", points + number, contact) for key, _, points, contact in ROWS]

    world = World()
    for number in (1, 2):
        before = getattr(proxy, direction)
        apply(delivery(tmp_path, BOUND, changed(number), of=item(number)), BOUND, distant, RUN, NOW)
        world = world.after(item(number).key, changed(number), [])
    length = getattr(proxy, direction) - before  # of a load that updates every row
    seen = set()
    for number in range(1, cuts + 1):
        rows, of, run = changed(number + 2), item(number + 2), Run(f"run-{number}", by="sensor")
        new = world.after(of.key, rows, [])
        cut = length * number // (cuts - 1)  # the last one comes too late
        validated = delivery(tmp_path, BOUND, rows, of=of)
        proxy.break_with(Fault(once=True, reset=number % 2 == 0, **{f"cut_after_{direction}": cut}))
        try:
            assert apply(validated, BOUND, distant, run, NOW).status == "committed"
            seen.add("committed")
            assert read_world(target.url) == new, f"cut after {cut} bytes {direction}"
        except TargetUnavailable:
            seen.add("refused")
            assert read_world(target.url) == world, f"cut after {cut} bytes {direction}"
        proxy.mend()
        assert apply(validated, BOUND, distant, run, NOW).status == "committed"
        assert read_world(target.url) == new, f"run again after a cut after {cut} bytes {direction}"
        world = new
    assert seen == {"refused", "committed"}


@pytest.mark.parametrize("percent", [60, *(pytest.param(p, marks=pytest.mark.slow) for p in range(5, 100, 7))])
def test_a_load_whose_network_stalls_goes_on_when_it_answers_again_and_leaves_nothing_when_it_is_killed(
    target: Target, cut_proxy: Proxies, tmp_path: Path, percent: int
) -> None:
    proxy = proxied(cut_proxy, target)
    distant = through(proxy, target)
    first = delivery(tmp_path, BOUND, ROWS[:5], of=item(0))
    apply(first, BOUND, distant, RUN, NOW)
    received = proxy.received
    apply(delivery(tmp_path, BOUND, ROWS, of=item(0)), BOUND, distant, Run("plan", by="ann", dry_run=True), NOW)
    stall = Fault(stall_after_received=(proxy.received - received) * percent // 100)
    old = World().after("loyalty-0", ROWS[:5], [])
    validated = delivery(tmp_path, BOUND, ROWS, of=item(1))

    proxy.break_with(stall)
    with ThreadPoolExecutor(1) as pool:
        abandoned = pool.submit(apply, validated, BOUND, distant, Run("run-1", by="sensor"), NOW)
        until(lambda: proxy.stalled)

        def killed() -> bool:
            proxy.cut_all()  # as when its process is killed; one that still begins connects once more
            return abandoned.done()

        until(killed)
        with pytest.raises(TargetUnavailable):
            abandoned.result()
        proxy.mend()
        assert read_world(target.url) == old

        proxy.break_with(stall)
        waiting = pool.submit(apply, validated, BOUND, distant, Run("run-2", by="sensor"), NOW)
        until(lambda: proxy.stalled)
        proxy.mend()
        assert waiting.result(60).status == "committed"
    assert read_world(target.url) == old.after("loyalty-1", ROWS, [])
