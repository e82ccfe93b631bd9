"""A test that waits for its own command may be interrupted, as by a time-out: the next answers are still right."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from ingest_pipelines_tests.guarantees.killable_commands import Runner


class Interrupted(Exception):
    """What the test's time-out would be."""


@contextmanager
def interrupted() -> Iterator[None]:
    """The block waits for something that does not come, and is interrupted."""

    def interrupt(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGUSR1))
    timer.start()
    try:
        with pytest.raises(Interrupted):
            yield
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def test_an_answer_that_nobody_waited_for_is_no_answer_to_the_next_question(tmp_path: Path) -> None:
    with Runner(tmp_path, {}) as runner:
        first = runner.start("--help")
        forking = psutil.Process(first.pid).ppid()
        os.kill(forking, signal.SIGSTOP)  # no answer comes
        try:
            with interrupted():
                first.wait()
        finally:
            os.kill(forking, signal.SIGCONT)
        second = runner.start("no-such-command")
        assert second.pid != first.pid
        assert second.wait() == 2
        assert first.wait() == 0
        assert "Usage" in first.text


def test_a_command_that_is_waited_for_holds_nobody_up(tmp_path: Path) -> None:
    with Runner(tmp_path, {}) as runner:
        stopped = runner.start("run", "points", stops_at="chosen")
        os.kill(stopped.pid, signal.SIGSTOP)
        with interrupted():
            stopped.wait()
        assert runner.run("--help")[0] == 0
    assert not psutil.pid_exists(stopped.pid)
