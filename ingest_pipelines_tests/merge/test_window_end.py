"""A window is read only once it has ended by the target's clock, wherever this machine's clock stands by then."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest

from ingest_pipelines.errors import WindowNotEnded
from ingest_pipelines.merge import Target, require_ended_window
from ingest_pipelines_tests.merge.deliveries import item


@pytest.mark.parametrize("ended", [-3600, -1, 60, 3600], ids="ended {} s ago".format)
@pytest.mark.parametrize("ahead", [-7200, -30, 0, 30, 7200], ids="clock {} s ahead".format)
def test_only_the_target_s_clock_decides_whether_a_window_has_ended(target: Target, ended: int, ahead: int) -> None:
    """The clock may have gone forth before the window was asked for, or back since."""
    with psycopg.connect(target.url) as connection:
        row = connection.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    window = replace(
        item(1), kind="window", window_start=row[0] - timedelta(days=1), window_end=row[0] + timedelta(seconds=ended)
    )
    now = row[0] + timedelta(seconds=ahead)
    if ended < 0:
        require_ended_window(target, window, now)
        return
    with pytest.raises(WindowNotEnded, match="ahead of the target's" if ahead >= ended else "was set back"):
        require_ended_window(target, window, now)
