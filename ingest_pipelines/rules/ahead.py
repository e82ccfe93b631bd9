"""Reading while judging: the next frame is read in a thread while this one is judged."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Thing = TypeVar("Thing")


@contextmanager
def read_ahead(things: Iterable[Thing]) -> Iterator[Iterator[Thing]]:
    """The things in order; never more than one is being read or waits. Leaving the block stops the reader.

    What reading raises is raised here, at the place in the order where it happened.
    """
    ready: queue.SimpleQueue[tuple[Thing | None, BaseException | None]] = queue.SimpleQueue()
    wanted = threading.Semaphore(1)
    stop = threading.Event()

    def read() -> None:
        try:
            source = iter(things)
            while True:
                wanted.acquire()
                if stop.is_set():
                    return
                thing = next(source, None)
                ready.put((thing, None))
                if thing is None:
                    return
        except BaseException as error:  # raised again in the thread that asked
            ready.put((None, error))

    def ordered() -> Iterator[Thing]:
        while True:
            thing, error = ready.get()
            if error is not None:
                raise error
            if thing is None:
                return
            wanted.release()
            yield thing

    reader = threading.Thread(target=read, name="read ahead", daemon=True)
    reader.start()
    try:
        yield ordered()
    finally:
        stop.set()
        wanted.release()
        reader.join()
