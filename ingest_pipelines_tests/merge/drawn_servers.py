"""Tests on two versions of Postgres: which cases are fast on which of the two; on the other one they are slow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from zlib import crc32

import pytest

Cases = dict[tuple[int, ...], list[pytest.Function]]


def draw_servers(items: Sequence[pytest.Item]) -> None:
    """A case is fast on one of the two servers, by a draw; a test of several cases has some on each server.

    What a load does in its own way on a version is in many tests, of which half are fast on each.
    """
    for test, cases in _by_test(items).items():
        first = crc32(test.encode())
        for place, on_servers in enumerate(cases.values()):
            drawn = (first + place.bit_count()) % len(on_servers)  # no parameter of the test goes with the server
            for number, item in enumerate(on_servers):
                if number != drawn:
                    item.add_marker(pytest.mark.slow)


def _by_test(items: Sequence[pytest.Item]) -> dict[str, Cases]:
    """The cases of each test, and each on its servers."""
    tests: dict[str, Cases] = defaultdict(lambda: defaultdict(list))
    for item in items:
        values = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        if isinstance(item, pytest.Function) and "server_url" in values and not item.get_closest_marker("slow"):
            case = tuple(id(value) for name, value in values.items() if name != "server_url")
            tests[item.nodeid.partition("[")[0]][case].append(item)
    return tests
