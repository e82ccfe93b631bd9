"""Makes a driver's blocking calls on a thread of their own, so that each wait has a timeout and signals interrupt it.

Drivers in C or Rust, and sockets whose peer is silent, can't be interrupted from inside. The caller waits here instead.
A call that it gives up stays on a daemon thread, which ends with the process at the latest.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from ingest_pipelines.errors import SourceUnavailable

T = TypeVar("T")


class Pending(Generic[T]):
    """The outcome of a call that may still be under way."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._done = threading.Event()
        self._value: T
        self._error: BaseException | None = None

    def run(self) -> None:
        """Makes the call, on the thread that this is called on."""
        try:
            self._value = self._work()
        except BaseException as error:  # `wait` raises it on the other thread
            self._error = error
        finally:
            del self._work
            self._done.set()

    def over(self, seconds: float) -> bool:
        """Whether the call has ended, with a value or an error. Waits that long for it."""
        return self._done.wait(seconds)

    def wait(self, seconds: float, what: str, hint: str = "") -> T:
        """The call's value.

        Args:
            what: starts the message of an error.
            hint: the next step where there is no outcome in time.

        Raises:
            SourceUnavailable: no outcome in that time.
        """
        if not self._done.wait(seconds):
            raise SourceUnavailable(f"{what}: no answer within {seconds:g} s", hint=hint, hung=True)
        if self._error is not None:
            raise self._error
        return self._value


class Worker:
    """One thread that makes calls one after the other; many drivers want a connection to stay on one thread."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[Pending[object] | None] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def submit(self, work: Callable[[], T]) -> Pending[T]:
        """Queues the call behind those that were submitted before."""
        pending = Pending(work)
        self._calls.put(pending)  # type: ignore[arg-type]  # the caller of `submit` knows the type
        return pending

    def call(self, work: Callable[[], T], seconds: float, what: str) -> T:
        """The call's value; see `Pending.wait`."""
        return self.submit(work).wait(seconds, what)

    def stop(self) -> None:
        """Ends the thread after the calls that were submitted."""
        self._calls.put(None)

    def _serve(self) -> None:
        while (pending := self._calls.get()) is not None:
            pending.run()
