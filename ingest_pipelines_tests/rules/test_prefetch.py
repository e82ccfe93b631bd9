from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ingest_pipelines.rules.prefetch import prefetch


def test_things_come_in_their_order() -> None:
    with prefetch(range(100)) as ordered:
        assert list(ordered) == list(range(100))


def test_one_entry_is_prefetched_and_no_more() -> None:
    read: list[int] = []
    second = threading.Event()

    def things() -> Iterator[int]:
        for number in range(10):
            read.append(number)
            if number == 1:
                second.set()
            yield number

    with prefetch(things()) as ordered:
        assert next(ordered) == 0
        assert second.wait(10)
        assert read == [0, 1]


def test_what_reading_raises_is_raised_at_its_place() -> None:
    def things() -> Iterator[int]:
        yield 1
        raise ValueError("line 7")

    with prefetch(things()) as ordered:
        assert next(ordered) == 1
        with pytest.raises(ValueError, match="line 7"):
            next(ordered)


def test_leaving_early_ends_the_reader() -> None:
    with prefetch(iter(int, 1)) as ordered:
        assert next(ordered) == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]
