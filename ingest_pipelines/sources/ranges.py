"""Reads an object in ranges of growing length, one request each; the next one is on its way while one is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from ingest_pipelines.sources.base import CHUNK

MAX_RANGE = 16 * CHUNK
"""Most bytes of one request. An answer is checked and tried again as a whole, so it must fit into memory."""


def in_ranges(fetch: Callable[[int, int], bytes], start: int, size: int, thread: str) -> Iterator[bytes]:
    """The bytes from `start` to `size`, in chunks; a range that has fewer than it should is the last.

    Args:
        fetch: the bytes from a place to another, exclusive; called in a thread of that name.
    """
    for content in _ranges(fetch, start, size, thread):
        view = memoryview(content)
        for at in range(0, len(view), CHUNK):
            yield bytes(view[at : at + CHUNK])


def _ranges(fetch: Callable[[int, int], bytes], start: int, size: int, thread: str) -> Iterator[bytes]:
    bounds = _bounds(start, size)
    following = next(bounds, None)
    requested: Future[bytes] | None = None
    pool = ThreadPoolExecutor(1, thread_name_prefix=thread)
    try:
        while following is not None:
            (first, end), following = following, next(bounds, None)
            content = requested.result() if requested else fetch(first, end)
            # a caller that wants only the head gets little more
            requested = pool.submit(fetch, *following) if following and first > start else None
            yield content
            if len(content) < end - first:
                return
    finally:
        pool.shutdown(cancel_futures=True)


def _bounds(start: int, size: int) -> Iterator[tuple[int, int]]:
    """Where ranges begin and end: each twice as long as the one before, up to MAX_RANGE."""
    length = CHUNK
    while start < size:
        end = min(start + length, size)
        yield start, end
        start, length = end, min(2 * length, MAX_RANGE)
