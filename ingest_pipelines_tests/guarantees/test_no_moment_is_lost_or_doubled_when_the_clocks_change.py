"""Where clocks change, a local time is loaded as the one moment that it names, or rejected; windows share no row.

The oracle is Python's zoneinfo. The ticks of schedules are compared with Dagster's in orchestration/test_ticks.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import psycopg
import pytest

from ingest_pipelines_tests.guarantees.projects import Project, new_project
from ingest_pipelines_tests.servers.postgres import connection_to, fresh_database

CHANGES: dict[str, tuple[str, str]] = {
    "America/St_Johns": ("2026-03-08", "2026-11-01"),  # an offset of half an hour
    "Australia/Lord_Howe": ("2026-04-05", "2026-10-04"),  # the clock changes by half an hour
    "Africa/Cairo": ("2026-04-24", "2026-10-30"),  # at midnight, and from midnight to 23:00
    "America/Havana": ("2026-03-08", "2026-11-01"),  # at midnight, and from 1:00 to midnight
    "Europe/London": ("2026-03-29", "2026-10-25"),
    "Asia/Beirut": ("2026-03-29", "2026-10-25"),
    "America/Santiago": ("2026-04-05", "2026-09-06"),
    "Pacific/Auckland": ("2026-04-05", "2026-09-27"),
    "Atlantic/Azores": ("2026-03-29", "2026-10-25"),
    "Asia/Kathmandu": ("2026-03-29", "2026-10-25"),  # an offset of 45 minutes, and the clock never changes
    "Antarctica/Troll": ("2026-03-29", "2026-10-25"),  # by two hours
    "America/New_York": ("2026-03-08", "2026-11-01"),
}
"""Days on which clocks change."""


def _zones(*fast: str) -> list[Any]:
    """All zones; tests of others than these are slow."""
    return [pytest.param(zone, marks=() if zone in fast else pytest.mark.slow) for zone in CHANGES]


def moments(wall: datetime, zone: str) -> set[datetime]:
    """The moments at which a clock on a wall of the zone shows this: none, one or two."""
    both = (wall.replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC) for fold in (0, 1))
    return {moment for moment in both if moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) == wall}


@pytest.fixture(scope="module")
def project(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with new_project(postgres_url, tmp_path_factory.mktemp("clocks")) as project:
        fields = {
            "id": {"type": "string"},
            "at": {"type": "datetime"},
            "due": {"type": "datetime", "format": "%d.%m.%Y %H:%M"},
        }
        project.write("databases", {"databases": {"people": {"table": "crm.people", "key": "id", "fields": fields}}})
        (project.folder / "imports" / "people.yaml").unlink()
        yield project


@pytest.mark.parametrize("zone", _zones("Australia/Lord_Howe", "Africa/Cairo"))
def test_a_local_time_is_the_moment_that_it_names_or_is_rejected(project: Project, zone: str) -> None:
    name = zone.replace("/", "_")
    project.write_import(name, timezone=zone, columns={"id": "id", "at": "at", "due": "due"})
    rows: dict[str, tuple[str, datetime | None]] = {}
    for day in CHANGES[zone]:
        start = datetime.fromisoformat(day) - timedelta(hours=2)
        for number in range(6 * 60):
            wall = start + timedelta(minutes=number, seconds=number)
            named = moments(wall, zone)
            expected = next(iter(named)) if len(named) == 1 else None
            rows[f"{name}-{wall:%m%dT%H%M%S}"] = (f"{wall.isoformat()},", expected)
            if number % 20 == 0:
                whole = wall.replace(second=0)
                named = moments(whole, zone)
                expected = next(iter(named)) if len(named) == 1 else None
                rows[f"{name}-f{wall:%m%dT%H%M%S}"] = (f",{whole:%d.%m.%Y %H:%M}", expected)
                rows[f"{name}-o{wall:%m%dT%H%M%S}"] = (
                    f"{wall.isoformat()}-03:30,",
                    wall.replace(tzinfo=UTC) + timedelta(hours=3.5),
                )
    assert {cell is None for _, cell in rows.values()} == ({False} if zone == "Asia/Kathmandu" else {True, False})
    content = "id,at,due\n" + "".join(f"{key},{cells}\n" for key, (cells, _) in rows.items())
    answer = project.deliver(content.encode(), to=name)
    assert answer.code == 0, answer.err
    loaded = project.rows(f"SELECT id, coalesce(at, due) FROM crm.people WHERE id LIKE '{name}-%'")
    assert dict(loaded) == {key: moment for key, (_, moment) in rows.items() if moment is not None}
    rejects = project.rows(
        "SELECT DISTINCT r.key, r.code FROM ingest.rejects r JOIN ingest.loads l ON l.id = r.load"
        f" WHERE l.import = '{name}'"
    )
    assert dict(rejects) == {key: "bad_datetime" for key, (_, moment) in rows.items() if moment is None}


@pytest.mark.parametrize("zone", _zones("Africa/Cairo"))
@pytest.mark.parametrize("local", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["moments", "wall clock"])
def test_the_days_around_a_change_of_the_clock_have_each_row_once(
    project: Project, postgres_url: str, zone: str, local: bool
) -> None:
    """A source of moments, or one of local times without a zone, where a repeated hour is in its day twice."""
    days = [date.fromisoformat(CHANGES[zone][1]) + timedelta(days=number) for number in (-1, 0, 1)]
    name = f"{zone.replace('/', '_')}_{local}"
    begin = datetime(days[0].year, days[0].month, days[0].day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    rows = [begin + timedelta(minutes=15 * number) for number in range(4 * 76)]
    shown = [moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for moment in rows]
    per_day = [sum(wall.date() == day for wall in shown) for day in days]
    with fresh_database(postgres_url) as shop:
        with psycopg.connect(shop) as source:
            source.execute(f"CREATE TABLE sales (id text, at timestamp{'' if local else 'tz'})".encode())
            values = shown if local else rows
            with source.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO sales VALUES (%s, %s)", [(f"{name}-{n}", at) for n, at in enumerate(values)]
                )
        parts = urlsplit(shop)
        connection = connection_to(shop)
        project.write(
            "connections", {"connections": {"uploads": {"type": "csv", "directory": "uploads"}, "shop": connection}}
        )
        window = {"every": "day", "start": str(days[0]), "timezone": zone, "wall_clock": local}
        query = "SELECT id FROM sales WHERE at >= {windowStart} AND at < {windowEnd}"
        project.write_import(
            name, source={"connection": "shop", "query": query, "window": window}, columns={"id": "id"},
            events=False,
        )  # fmt: skip
        loads = []
        for day in days:
            answer = project.terminal.ingest("run", name, "--item", str(day), "--json", SHOP_PW=str(parts.password))
            assert answer.code == 0, answer.err
            loads += answer.json
    (project.folder / "imports" / f"{name}.yaml").unlink()
    assert [load["read"] for load in loads] == per_day
    assert [load["inserted"] for load in loads] == per_day
    assert project.rows(f"SELECT count(*) FROM crm.people WHERE id LIKE '{name}-%'") == [(sum(per_day),)]
