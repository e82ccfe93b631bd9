"""`ingest status` is the homepage: three profiles of a project read well at 80 columns, and add up as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import psycopg
import pytest

from ingest_pipelines.actions.status import BROKEN, ORDER, import_lines
from ingest_pipelines.cli.status_text import GROUPS_SHOWN, ITEMS_SHOWN, import_text, status_text
from ingest_pipelines.config import Project, read_project
from ingest_pipelines.config.schedule import Schedule
from ingest_pipelines.ledger import ImportState, ImportSummary, SourceCheck
from ingest_pipelines.ledger.imports import ImportStatus
from ingest_pipelines.model import ItemKey, LoadStatus
from ingest_pipelines.orchestration.monitoring import open_item
from ingest_pipelines.orchestration.monitoring.open_item import STATES, OpenItem, OpenState
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


def item(name: str, key: str = ITEM, state: OpenState = "failed", hours: float = 3, **more: Any) -> OpenItem:
    facts: dict[str, Any] = {"reason": QUOTE.format(name), "next_step": f"ingest run {name} --item {key}"}
    return OpenItem(name, key, state, NOW - timedelta(hours=hours), **{**facts, **more})


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
    _, text = shown(project, summaries, open_items=[item(name) for name in project.imports])
    at = text.index("failed    ingest status NAME")
    assert text[at + 1].split() == ["import", "last", "load", "read", "changed", "rejected", "next"]
    assert "  loyalty: 1 file failed, 3 h ago" in text
    assert "    the last committed load was 2 d ago" in text
    assert "    nothing of this import is in the table yet" in text
    assert "      next: ingest run loyalty --failed" in text
    assert " ".join(" ".join(text).split()).count("the quote opened in column 3 never closes") == 6


def test_what_needs_a_person_comes_first(project: Project) -> None:
    summaries = {
        "customers": summary("customers"), "loyalty": summary("loyalty", rejected=12),
        "marketing_preferences": summary("marketing_preferences", "failed"),
    }  # fmt: skip
    lines, text = shown(
        project, summaries, running={"nightly"}, ticks={"nightly": NOW + timedelta(hours=2)},
        open_items=[item("marketing_preferences")],
    )  # fmt: skip
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


def test_a_later_good_load_hides_no_failed_item(project: Project) -> None:
    lines, text = shown(project, {"customers": summary("customers")}, open_items=[item("customers", hours=30)])
    assert {line["import"]: line["status"] for line in lines}["customers"] == "failed"
    assert "  customers: 1 file failed, 1 d ago" in text


@pytest.mark.parametrize("state", ["due", "settling", "queued", "held"])
@pytest.mark.parametrize("before", [{}, {"rejected": 12}, {"status": "skipped"}, None])
def test_an_import_whose_items_wait_has_not_completed(
    project: Project, state: OpenState, before: dict[str, Any] | None
) -> None:
    summaries = {"loyalty": summary("loyalty", **before)} if before is not None else {}
    lines, text = shown(project, summaries, open_items=[item("loyalty", state=state, next_step="")])
    assert next(line["status"] for line in lines if line["import"] == "loyalty") == "waiting"
    assert "waiting    ingest status loyalty" in text


def test_a_reason_of_several_lines_keeps_them_and_the_next_step_is_said_once(project: Project) -> None:
    died = "import loyalty, item K: run 1a2b3c4d is dead: it was killed\n  nothing is lost"
    died += "; next: ingest run loyalty --item K"
    items = [item("loyalty", "K", reason=died), item("loyalty")]
    lines, text = shown(project, {}, open_items=items)
    one = next(line for line in lines if line["import"] == "loyalty")
    for told in (text, unstyled("\n".join(import_text(one, NOW))).split("\n")):
        lone = [line.strip() for line in told]
        assert "failed: run 1a2b3c4d is dead: it was killed" in lone
        assert lone[lone.index("failed: run 1a2b3c4d is dead: it was killed") + 1] == "nothing is lost"
        assert "nothing was merged; fix the file and upload it under a new serial" in " ".join(lone)
        assert sum(line.startswith("next: ") for line in lone) == 2
        assert not [line for line in lone if "; next: ingest" in line or ".;" in line or ";  " in line]


def test_a_failed_load_without_an_open_item_is_over(project: Project) -> None:
    lines, _ = shown(project, {"customers": summary("customers", "failed", committed_at=NOW - timedelta(days=2))})
    assert {line["import"]: line["status"] for line in lines}["customers"] == "completed"


def test_sixty_failed_windows_stay_readable(project: Project) -> None:
    empty_keys = [item("customers", f"2026-09-{day:02}", hours=999 - day) for day in range(1, 29)]
    dead = [
        item("customers", f"2026-10-{day:02}", "dropped", hours=500 - day, reason=f"run {day:08x} never began")
        for day in range(1, 32)
    ]
    waits = [item("customers", "points/Points_9.csv", "settling", 0.1, reason="may still change", next_step="")]
    lines, text = shown(project, {}, open_items=[*empty_keys, *dead, *waits])
    block = text[text.index("  customers: 28 files failed, 31 dropped, 1 settling; the oldest 41 d ago") :]
    assert sum("ingest run customers --failed" in line for line in block) == 2
    assert "      2026-09-01, 2026-09-02, 2026-09-03 and 25 more: ingest status customers" in block
    assert len(text) < 45
    [line] = [line for line in lines if line["import"] == "customers"]
    assert len(line["open"]) == 60
    assert line["open_counts"] == {"failed": 28, "dropped": 31, "settling": 1}
    listed = [part for row in import_text(line, NOW) for part in unstyled(row).split("\n")]
    assert all(any(found.item in row for row in listed) for found in [*empty_keys, *dead, *waits])
    assert all(len(row) <= 80 for row in listed)


def test_more_reasons_than_fit_are_counted(project: Project) -> None:
    found = [item("customers", f"K{word}", reason=f"for reason {word}") for word in "abcdefg"]
    _, text = shown(project, {}, open_items=found)
    assert f"    and {len(found) - GROUPS_SHOWN} more: ingest status customers" in text
    assert ITEMS_SHOWN >= 1


def test_an_import_that_the_project_no_longer_has_is_shown_with_its_open_items(project: Project) -> None:
    reason = "the project has no import gone"
    lines, text = shown(
        project, {}, open_items=[item("gone", state="held", reason=reason, next_step="ingest skip gone")]
    )
    assert {line["import"]: line["status"] for line in lines}["gone"] == "removed"
    assert "removed" in text
    assert f"    held: {reason}" in text


@pytest.mark.parametrize("state", STATES)
def test_every_state_of_an_item_is_shown_whatever_its_import_is(project: Project, state: OpenState) -> None:
    names = [*project.imports, *project.broken, "gone"]
    lines, text = shown(project, {}, open_items=[item(name, state=state) for name in names])
    for name in names:
        noun = "item" if name == "gone" else "file"
        assert any(line.startswith(f"  {name}: 1 {noun} {state}, 3 h ago") for line in text), name
    broken = {line["import"] for line in lines if line["status"] == "failed"}
    assert broken == ({*project.imports} - {"draft"} if state in BROKEN else set())


def test_the_states_that_make_an_import_failed_are_those_of_the_list() -> None:
    assert BROKEN == open_item.BROKEN


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


def silent(name: str, connection: str, minutes: int) -> SourceCheck:
    since = NOW - timedelta(minutes=minutes)
    error = f"connection {connection}: the server answered nothing for 20 s\nnothing is lost"
    return SourceCheck(name, connection, NOW, None, since, "hung", "login", error)


def test_a_source_that_does_not_answer_is_one_entry_with_the_imports_that_wait(project: Project) -> None:
    names = ["customers", "loyalty", "marketing_preferences", "nightly", "old", "draft"]
    connection = project.imports["customers"].connection_name
    checks = {name: silent(name, connection, 12 + at) for at, name in enumerate(names)}
    lines, text = shown(project, {}, checks=checks)
    by_name = {line["import"]: line["source"] for line in lines}
    assert by_name["loyalty"]["connection"] == connection
    assert (by_name["loyalty"]["trouble"], by_name["loyalty"]["step"]) == ("hung", "login")
    assert by_name["broken"] is None
    told = " ".join(" ".join(text).split())
    assert f"{connection}: hung at step login since" in told
    assert told.count(f"{connection}: hung") == 1
    assert "and 1 more" in told
    assert f"connection {connection}: the server answered nothing for 20 s" in told
    assert "--connect" in told


def test_a_look_at_the_connection_that_an_import_no_longer_has_does_not_count(project: Project) -> None:
    lines, text = shown(project, {}, checks={"customers": silent("customers", "an_old_one", 12)})
    assert next(line for line in lines if line["import"] == "customers")["source"] is None
    assert "do not answer" not in " ".join(text)
