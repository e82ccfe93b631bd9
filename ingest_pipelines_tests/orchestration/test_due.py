"""What a schedule owes at a moment, compared with a model that lets every tick take what had ended by then."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines.config import BoundImport, read_project
from ingest_pipelines.orchestration.monitoring.due import A_TICK_TAKES, tick_due, windows_due
from ingest_pipelines_tests.config.projects import IMPORT, RIGHT, write_project

START = datetime(2026, 11, 1, tzinfo=UTC)
QUERY = (
    "query: SELECT * FROM sales WHERE at >= {{windowStart}} AND at < {{windowEnd}}\n"
    "  window: {{every: {}, start: '2026-11-01'}}"
)
LENGTHS = {"hour": timedelta(hours=1), "day": timedelta(days=1)}
PERIODS = {"5m": 5, "1h": 60, "6h": 360, "24h": 1440}
PLANS = {"": None, ", start: '2026-11-04T00:00'": "start", ", until: 2026-11-05": "until"}


@pytest.fixture(scope="module")
def imports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BoundImport]:
    """An import per length of window, period of schedule and end of plan: `day_6h_1`."""
    files = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VENDOR_PW", "x")
        for length in LENGTHS:
            source = IMPORT.replace(
                "connection: vendor\n  file: loyalty/Customers", "connection: shop_db\n  " + QUERY.format(length)
            )
            for period in PERIODS:
                for number, more in enumerate(PLANS):
                    schedule = f"schedule: {{every: {period}{more}}}\n"
                    files[f"imports/{length}_{period}_{number}.yaml"] = source + schedule
        common = {name: RIGHT[name] for name in ("connections.yaml", "databases.yaml")}
        project = read_project(write_project(tmp_path_factory.mktemp("due"), {**common, **files}))
    assert not project.mistakes
    return dict(project.imports)


def ticks(period: str, plan: str, now: datetime) -> list[datetime]:
    """Ticks since the start that have had their time by now: every so many minutes from midnight, in UTC."""
    minutes = PERIODS[period]
    moments = [
        START + timedelta(minutes=minutes * number)
        for number in range(int(timedelta(days=9) / timedelta(minutes=minutes)))
    ]
    first = START + timedelta(days=3) if PLANS[plan] == "start" else START
    last = START + timedelta(days=5) if PLANS[plan] == "until" else START + timedelta(days=99)
    return [tick for tick in moments if first <= tick < last and tick <= now - A_TICK_TAKES]


@given(
    length=st.sampled_from(sorted(LENGTHS)),
    period=st.sampled_from(sorted(PERIODS)),
    plan=st.sampled_from(sorted(PLANS)),
    loaded=st.integers(0, 150),
    minutes=st.integers(0, 8 * 1440),
)
def test_due_are_the_windows_that_a_tick_had_seen_end(
    imports: dict[str, BoundImport], length: str, period: str, plan: str, loaded: int, minutes: int
) -> None:
    bound = imports[f"{length}_{period}_{list(PLANS).index(plan)}"]
    newest = START + loaded * LENGTHS[length]
    now = START + timedelta(minutes=minutes)
    last_tick = max(ticks(period, plan, now), default=START - timedelta(days=99))
    expected, end = [], newest + LENGTHS[length]
    while end <= last_tick:
        expected.append(end)
        end += LENGTHS[length]
    assert [ended_at for _, ended_at in windows_due(bound, newest, now)] == expected


@given(
    period=st.sampled_from(sorted(PERIODS)),
    plan=st.sampled_from(sorted(PLANS)),
    seen=st.integers(0, 8 * 1440),
    minutes=st.integers(0, 8 * 1440),
)
def test_a_tick_that_left_no_trace_is_due(
    imports: dict[str, BoundImport], period: str, plan: str, seen: int, minutes: int
) -> None:
    bound = _without_window(imports[f"day_{period}_{list(PLANS).index(plan)}"])
    last_seen, now = START + timedelta(minutes=seen), START + timedelta(minutes=minutes)
    expected = min((tick for tick in ticks(period, plan, now) if tick >= last_seen), default=None)
    assert tick_due(bound, last_seen, now) == expected


def test_before_the_first_load_nothing_is_due(imports: dict[str, BoundImport]) -> None:
    now = START + timedelta(days=8)
    assert windows_due(imports["day_5m_0"], None, now) == []
    assert tick_due(_without_window(imports["day_5m_0"]), None, now) is None


def _without_window(bound: BoundImport) -> BoundImport:
    source = bound.spec.source.model_copy(update={"window": None})
    return replace(bound, spec=bound.spec.model_copy(update={"source": source}))
