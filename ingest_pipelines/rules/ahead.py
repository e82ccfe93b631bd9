"""Reading while judging: the next frame is read in a thread while this one is judged."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Thing = TypeVar("Thing")


@contextmanager
def read_ahead(things: Iterable[Thing], depth: int = 1) -> Iterator[Iterator[Thing]]:
    """The things in order, at most `depth` of them waiting. Leaving the block stops the reader.

    What reading raises is raised here, at the place in the order where it happened.
    """
    waiting: queue.Queue[tuple[Thing | None, BaseException | None]] = queue.Queue(depth)
    stop = threading.Event()

    def put(thing: Thing | None, error: BaseException | None = None) -> bool:
        while not stop.is_set():
            try:
                waiting.put((thing, error), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for thing in things:
                if not put(thing):
                    return
            put(None)
        except BaseException as error:  # raised again in the thread that asked
            put(None, error)

    def ordered() -> Iterator[Thing]:
        while True:
            thing, error = waiting.get()
            if error is not None:
                raise error
            if thing is None:
                return
            yield thing

    reader = threading.Thread(target=read, name="read ahead", daemon=True)
    reader.start()
    try:
        yield ordered()
    finally:
        stop.set()
        reader.join()
