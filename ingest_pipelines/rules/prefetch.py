"""Prefetching: a thread reads the next frame while this one is validated."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Entry = TypeVar("Entry")


@contextmanager
def prefetch(entries: Iterable[Entry]) -> Iterator[Iterator[Entry]]:
    """The entries in order; at most one of them is being read or waits. Leaving the block stops the reader.

    Raises:
        What reading raises, at the place in the order where it happened.
    """
    ready: queue.SimpleQueue[tuple[Entry | None, BaseException | None]] = queue.SimpleQueue()
    wanted = threading.Semaphore(1)
    stop = threading.Event()

    def read() -> None:
        try:
            source = iter(entries)
            while True:
                wanted.acquire()
                if stop.is_set():
                    return
                entry = next(source, None)
                ready.put((entry, None))
                if entry is None:
                    return
        except BaseException as error:  # raised again in the thread that asked
            ready.put((None, error))

    def ordered() -> Iterator[Entry]:
        while True:
            entry, error = ready.get()
            if error is not None:
                raise error
            if entry is None:
                return
            wanted.release()
            yield entry

    reader = threading.Thread(target=read, name="prefetch", daemon=True)
    reader.start()
    try:
        yield ordered()
    finally:
        stop.set()
        wanted.release()
        reader.join()
