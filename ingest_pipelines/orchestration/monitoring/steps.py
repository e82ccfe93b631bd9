"""A step of the watcher in a thread of its own: one that hangs is a finding, and holds up nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")

ABANDONED_AFTER = 300.0
"""Seconds after which a step that hangs is left to itself, and begun again beside it."""


class BoundedStep(Generic[T]):
    """A function that is called again and again, once at a time.

    Attributes:
        patience: seconds that a call may take.
        result: of the last call that returned; None: none has.
        error: of the last call, if it raised.
        seconds: that the last call took.
    """

    def __init__(self, call: Callable[[], T], patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.patience = patience
        self.result: T | None = None
        self.error: Exception | None = None
        self.seconds = 0.0
        self._call = call
        self._clock = clock
        self._thread: Thread | None = None
        self._begun = 0.0

    def begin(self) -> None:
        """Calls the function in a thread, unless an earlier call is still in progress."""
        if self.is_running and self._clock() - self._begun < ABANDONED_AFTER:
            return
        self._begun = self._clock()
        thread = Thread(target=lambda: self._run(thread), daemon=True)
        self._thread = thread
        thread.start()

    def _run(self, thread: Thread) -> None:
        begun = self._clock()
        try:
            result = self._call()
        except Exception as error:
            if self._thread is thread:
                self.error = error
        else:
            if self._thread is thread:  # not of an abandoned call
                self.result, self.error = result, None
        self.seconds = self._clock() - begun

    def wait(self, until: float) -> None:
        """Waits for the call, until that moment of the clock at most."""
        if self._thread is not None:
            self._thread.join(max(0.0, until - self._clock()))

    @property
    def is_running(self) -> bool:
        """Whether a call is in progress."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def late_by(self) -> float:
        """Seconds that the call in progress has been taking, if that is more than its patience; else 0."""
        taken = self._clock() - self._begun
        return taken if self.is_running and taken > self.patience else 0.0
