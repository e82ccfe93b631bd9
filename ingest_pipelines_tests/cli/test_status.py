"""`ingest status` is the homepage: three profiles of a project read well at 80 columns, and add up as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import psycopg
import pytest

from ingest_pipelines.cli.reports import ORDER, import_lines, status_text
from ingest_pipelines.config import Project, read_project
from ingest_pipelines.config.schedule import Schedule
from ingest_pipelines.ledger import ImportState, ImportSummary
from ingest_pipelines.ledger.imports import ImportStatus
from ingest_pipelines.model import ItemKey, LoadStatus
from ingest_pipelines.orchestration.runs.live_status import next_tick
from ingest_pipelines_tests.cli.terminal import Terminal
from ingest_pipelines_tests.config.projects import IMPORT, RIGHT, write_project
from ingest_pipelines_tests.waiting import until_it

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
ITEM = ItemKey("2026-11-22T06-00-00Z_Customers_1767225600.csv_3f9a1c2b")
QUOTE = (
    "import {}, item Customers_1767225600.csv: line 48213: the quote opened in column 3 never closes\n"
    "nothing was merged; fix the file and upload it under a new serial"
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("VENDOR_PW", "x")
    imports = {f"imports/{name}.yaml": IMPORT for name in ("customers", "loyalty", "marketing_preferences")}
    scheduled = f"{IMPORT}schedule: {{every: 6h, start: '2026-11-22T06:00', timezone: Europe/London}}\n"
    ended = f"{IMPORT}schedule: {{every: 6h, until: 2026-11-01}}\n"
    more = {
        "imports/nightly.yaml": scheduled, "imports/draft.yaml": f"status: draft\n{IMPORT}",
        "imports/old.yaml": ended, "imports/broken.yaml": f"mod: add_only\n{IMPORT}",
    }  # fmt: skip
    common = {name: RIGHT[name] for name in ("connections.yaml", "databases.yaml")}
    return read_project(write_project(tmp_path, {**common, **imports, **more}))


def summary(
    name: str, status: LoadStatus = "committed", rejected: int = 0, hours: int = 3, **more: Any
) -> ImportSummary:
    at = NOW - timedelta(hours=hours)
    good = status in {"committed", "skipped"}
    facts: dict[str, Any] = {
        "import_name": name, "load": 7, "item": ITEM, "status": status, "read": 1_234_567, "inserted": 567,
        "updated": 1_000, "unchanged": 1_233_000 - rejected, "unmatched": 0, "skipped": 0, "rejected": rejected,
        "started_at": at, "finished_at": at, "error": "" if good else QUOTE.format(name),
        "committed_at": at if good else None,
    }  # fmt: skip
    return ImportSummary(**{**facts, **more})


def unstyled(text: str) -> str:
    return re.sub("\x1b\\[[0-9;]*m", "", text)


def shown(
    project: Project, summaries: Mapping[str, ImportSummary], **more: Any
) -> tuple[list[dict[str, Any]], list[str]]:
    lines = import_lines(project, {}, summaries, NOW, **more)
    text = [line for part in status_text(lines, NOW) for line in unstyled(part).split("\n")]
    assert all(len(line) <= 80 for line in text), max(text, key=len)
    return lines, text


def test_when_everything_failed_each_says_why_and_how_old_the_data_are(project: Project) -> None:
    summaries = {name: summary(name, "failed") for name in project.imports}
    summaries["loyalty"] = summary("loyalty", "refused", committed_at=NOW - timedelta(days=2))
    _, text = shown(project, summaries)
    at = text.index("failed    ingest report NAME")
    assert text[at + 1].split() == ["import", "last", "load", "read", "changed", "rejected", "next"]
    assert "    nothing of it is in the table; the last committed load was 2 d ago" in text
    assert "    nothing of this import is in the table yet" in text
    assert " ".join(" ".join(text).split()).count("the quote opened in column 3 never closes") == 4


def test_what_needs_a_person_comes_first(project: Project) -> None:
    summaries = {
        "customers": summary("customers"), "loyalty": summary("loyalty", rejected=12),
        "marketing_preferences": summary("marketing_preferences", "failed"),
    }  # fmt: skip
    lines, text = shown(project, summaries, running={"nightly"}, ticks={"nightly": NOW + timedelta(hours=2)})
    titles = [line.split("    ")[0] for line in text if line and not line.startswith(" ")]
    assert titles == ["invalid", "failed", "running", "completed with rejects", "completed", "draft", "ended"]
    assert [title.replace(" ", "_") for title in titles] == [
        state for state in ORDER if state.replace("_", " ") in titles
    ]
    by_name = {line["import"]: line for line in lines}
    assert by_name["loyalty"]["status"] == "completed_with_rejects"
    assert by_name["nightly"]["next_at"] == NOW + timedelta(hours=2)
    assert by_name["customers"]["next"] == "a file"
    assert by_name["customers"]["age_seconds"] == 3 * 3600
    assert by_name["draft"]["next"] == "-"
    assert "completed with rejects    ingest rejects list loyalty" in text
    assert "  imports/broken.yaml:1: mod: unknown key; did you mean 'mode'?" in text


def test_a_quiet_project_is_one_line_per_import(project: Project) -> None:
    quiet = Project(project.home, project.connections, project.databases, {"customers": project.imports["customers"]})
    _, text = shown(quiet, {"customers": summary("customers")})
    assert text == [
        "",
        "completed",
        "  import     last load       read  changed  rejected  next",
        "  customers  3 h ago    1,234,567    1,567         0  a file",
    ]


def test_a_status_of_the_ledger_wins_over_the_yaml(project: Project) -> None:
    paused = ImportState("customers", "customers", None, None, "paused", None)
    active = ImportState("draft", "customers", None, None, "active", None)
    lines = import_lines(project, {"customers": paused, "draft": active}, {}, NOW)
    found = {line["import"]: line["status"] for line in lines}
    assert (found["customers"], found["draft"], found["old"]) == ("paused", "scheduled", "ended")


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("last", [None, *get_args(LoadStatus)])
@pytest.mark.parametrize("wanted", [None, *get_args(ImportStatus)])
def test_every_import_has_a_status_whatever_the_ledger_and_dagster_say_of_it(
    project: Project, running: bool, last: LoadStatus | None, wanted: ImportStatus | None
) -> None:
    names = [*project.imports, *project.broken, "removed"]
    states = {name: ImportState(name, "customers", None, None, wanted, None) for name in names}
    summaries = {name: summary(name, last) for name in names} if last else {}
    ticks = dict.fromkeys(names, NOW + timedelta(hours=1))
    lines = import_lines(project, states, summaries, NOW, running=names if running else (), ticks=ticks)
    assert [line["import"] for line in lines] == sorted([*project.imports, *project.broken])
    assert {line["status"] for line in lines if line["import"] in project.broken} == {"invalid"}
    assert not running or {line["status"] for line in lines} == {"invalid", "running"}
    assert list(status_text(lines, NOW))


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        ({"every": "6h", "start": "2026-11-22T06:30"}, "2026-11-22T12:30:00+00:00"),
        ({"every": "1h"}, "2026-11-22T10:00:00+00:00"),
        ({"at": ["09:00"], "timezone": "Europe/London"}, "2026-11-23T09:00:00+00:00"),
        ({"at": ["09:00"], "weekdays": ["last fri"]}, "2026-11-27T09:00:00+00:00"),
        ({"at": ["09:00"], "dates": ["2028-02-29"]}, "2028-02-29T09:00:00+00:00"),
        ({"cron": "0 6 1 1 *", "start": "2027-06-01"}, "2028-01-01T06:00:00+00:00"),
        ({"every": "6h", "until": "2026-11-22"}, "2026-11-22T12:00:00+00:00"),
        ({"at": ["06:00"], "until": "2026-11-22"}, None),
        ({"at": ["06:00"], "dates": ["2026-11-22"]}, None),
    ],
)
def test_the_next_tick_is_the_schedules_own(plan: dict[str, Any], expected: str | None) -> None:
    tick = next_tick(Schedule.model_validate(plan), NOW)
    assert (tick.isoformat() if tick else None) == expected


def test_an_import_that_runs_is_running(starter: Terminal) -> None:
    assert starter.ingest("run", "loyalty").code == 0
    url = starter.environment["INGEST_DATABASE_URL"]
    with psycopg.connect(url) as holder:
        holder.execute("LOCK TABLE crm.customers IN ACCESS EXCLUSIVE MODE")
        (starter.folder / "more.csv").write_text("CID,Email,Tier,Points,Joined\n7,g@example.com,Gold,1,2020-01-01\n")
        process = starter.process("run", "loyalty", "--file", "more.csv", "--force")
        until_it(process, lambda: starter.ingest("status", "--json").json[0]["status"] == "running")
        holder.rollback()
        process.communicate(timeout=120)
        assert process.returncode == 0
    assert starter.ingest("status", "--json").json[0]["status"] == "completed"
