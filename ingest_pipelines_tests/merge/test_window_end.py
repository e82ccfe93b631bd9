"""A window is read only once it has ended by the target's clock, wherever this machine's clock stands by then."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product

import psycopg
import pytest

from ingest_pipelines.errors import WindowNotEnded
from ingest_pipelines.merge import Target, require_ended_window
from ingest_pipelines_tests.merge.deliveries import item

SECONDS_TO_ITS_END = (-3600, -1, 60, 3600)
SECONDS_AHEAD = (-7200, 0, 30, 7200)


def test_only_the_target_s_clock_decides_whether_a_window_has_ended(target: Target) -> None:
    """The clock may have been ahead when the window was asked for, and set back since."""
    with psycopg.connect(target.url) as connection:
        row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    for left, ahead in product(SECONDS_TO_ITS_END, SECONDS_AHEAD):
        end = row[0] + timedelta(seconds=left)
        window = replace(item(1), kind="window", window_start=end - timedelta(days=1), window_end=end)
        now = row[0] + timedelta(seconds=ahead)
        if left < 0:
            require_ended_window(target, window, now)
            continue
        with pytest.raises(WindowNotEnded, match="ahead of the target's" if ahead >= left else "was set back"):
            require_ended_window(target, window, now)
