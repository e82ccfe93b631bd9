"""A step of the watcher that hangs or fails is seen, and holds nothing up."""

from __future__ import annotations

import time
from threading import Event

from ingest_pipelines.orchestration.monitoring.steps import ABANDONED_AFTER, BoundedStep


class Clock:
    """Seconds that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_step_that_hangs_is_late_and_is_not_begun_twice_until_it_is_given_up() -> None:
    clock, release, calls = Clock(), Event(), []

    def hang() -> int:
        calls.append(1)
        release.wait(60)
        return len(calls)

    step = BoundedStep(hang, 10.0, clock)
    step.begin()
    step.wait(clock.now)
    assert (step.is_running, step.late_by, step.result) == (True, 0.0, None)
    clock.now = 11.0
    step.begin()
    assert (step.late_by, len(calls)) == (11.0, 1)
    clock.now = ABANDONED_AFTER
    step.begin()
    assert step.late_by == 0.0
    release.set()
    step.wait(clock.now + 60)
    assert (step.result, len(calls)) == (2, 2)


def test_an_error_is_kept_until_a_call_succeeds_and_the_last_result_stays() -> None:
    outcomes = iter((1, None, 3))

    def call() -> int:
        outcome = next(outcomes)
        if outcome is None:
            raise ValueError
        return outcome

    step = BoundedStep(call, 10.0)
    seen = []
    for _ in range(3):
        step.begin()
        step.wait(time.monotonic() + 60)
        seen.append((step.result, type(step.error)))
    assert seen == [(1, type(None)), (1, ValueError), (3, type(None))]
