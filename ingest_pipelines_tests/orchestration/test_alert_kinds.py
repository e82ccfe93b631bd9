"""Every kind of alert, from its first sign to its end: sources, YAML, what is stuck, items; and who gets it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import yaml
from dagster import DagsterInstance, DagsterRunStatus
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorType, SensorInstigatorData

from ingest_pipelines import ledger, pipeline
from ingest_pipelines.config import Settings
from ingest_pipelines.errors import IngestError, LoadError, SourceUnavailable, TargetUnavailable
from ingest_pipelines.model import Item, ItemKey, Run
from ingest_pipelines.orchestration.alerts.present_conditions import counted
from ingest_pipelines.orchestration.alerts.recipients import Routes
from ingest_pipelines.orchestration.alerts.send_alerts import send_alerts
from ingest_pipelines.orchestration.monitoring.open_item import OpenItem, OpenState
from ingest_pipelines.orchestration.monitoring.watcher import Watcher
from ingest_pipelines_tests.orchestration.conftest import DATABASES, GOOD, HEADER, NOW, ONE_BAD, Shop
from ingest_pipelines_tests.servers.http_endpoint import Endpoint
from ingest_pipelines_tests.waiting import until

VENDOR = {"connection": "vendor", "file": "points/Points", "settle": "1s"}
SECRET = "S3cr3t-of-a-row"
HANGS = SourceUnavailable("vendor: it hangs", step="login", hung=True)


class Watch:
    """A shop whose alerts go to one endpoint."""

    def __init__(self, shop: Shop, endpoint: Endpoint, instance: DagsterInstance) -> None:
        self.shop, self.endpoint, self.instance = shop, endpoint, instance

    def look(self, minutes: float = 1) -> list[str]:
        """A tick; the titles of the messages that it sent."""
        self.shop.now += timedelta(minutes=minutes)
        send_alerts(self.shop.site(), self.instance, self.shop.now)
        return self.endpoint.new_titles()

    def load(self, name: str, text: str) -> None:
        self.shop.now += timedelta(minutes=1)
        self.shop.deliver(name, text, age=timedelta(minutes=1))
        self.shop.run(self.instance, self.shop.arrive(self.instance))

    def trouble(self, *names: str, trouble: ledger.SourceTrouble = "hung") -> None:
        with self.shop.site().target.session() as connection:
            for name in names:
                ledger.record_trouble(
                    connection, name, "vendor", self.shop.now, trouble, step="login", error="vendor: it hangs"
                )

    def fail(self, name: str, error: IngestError) -> None:
        """A load of the import that failed now."""
        fingerprint = hashlib.sha256(name.encode()).hexdigest()
        item = Item(name, ItemKey(f"{name}_1"), "file", uri=f"sftp://vendor/{name}", fingerprint=fingerprint)
        site = self.shop.site()
        with site.target.session() as connection:
            ledger.register_items(connection, [item], self.shop.now)
        bound = site.project.require(name)
        pipeline.record_failure(error, item, item, bound, site.target, Run(f"run-of-{name}"), self.shop.now)

    def answer(self, *names: str) -> None:
        with self.shop.site().target.session() as connection:
            for name in names:
                ledger.record_success(connection, name, "vendor", self.shop.now)


@pytest.fixture
def watch(shop: Shop, http_endpoint: Endpoint, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Watch:
    monkeypatch.setenv("HOOK", http_endpoint.url)
    write_groups(shop, ops={"to": [{"env": "HOOK"}]})
    return Watch(shop, http_endpoint, instance)


def write_groups(shop: Shop, **groups: dict[str, Any]) -> None:
    (shop.home / "notify.yaml").write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")


def test_a_connection_that_hangs_is_one_alert_for_all_imports_that_wait_and_ends_with_the_last(watch: Watch) -> None:
    names = [f"feed_{number:02}" for number in range(13)]
    watch.shop.add_vendor()
    for name in names:
        watch.shop.write_import(name, source=VENDOR)
    watch.look()
    watch.trouble(*names)
    assert watch.look(minutes=1) == [], "one failed look is nothing yet"
    watch.trouble(*names)
    assert watch.look(minutes=2) == ["source: connection vendor: hangs at login; 13 imports"]
    watch.answer(*names[1:])
    for _ in range(5):
        assert watch.look(minutes=30) == []
    watch.answer(names[0])
    [recovered] = watch.look()
    assert recovered.startswith("recovered: connection vendor: was out of reach from 2026-11-22 09:16")
    watch.trouble(names[0])
    watch.answer(names[0])
    assert watch.look(minutes=10) == []


def test_a_source_that_is_down_is_one_message_however_many_of_its_imports_fail_by_it(watch: Watch) -> None:
    """Their loads fail one after the other, as runs take turns; what is still open afterwards is told."""
    names = ["members", "orders", "returns"]
    watch.shop.add_vendor()
    for name in names:
        watch.shop.write_import(name, source=VENDOR)
    watch.look()
    titles: list[str] = []
    for minute, name in enumerate(names):
        for _ in range(3):  # each of a run's attempts looks
            watch.trouble(name)
            titles += watch.look(minutes=1)
        watch.fail(name, HANGS)
        titles += watch.look(minutes=minute)
    assert titles == ["source: connection vendor: hangs at login; 3 imports"]
    assert watch.look(minutes=60) == []
    watch.answer(*names)
    recovered, failed = sorted(watch.look(), reverse=True)
    assert recovered.startswith("recovered: connection vendor")
    assert failed == "failed: 3 imports: vendor: it hangs", "they answer, and nobody has loaded them yet"


def test_what_has_failed_for_another_reason_is_told_while_the_source_is_down(watch: Watch) -> None:
    watch.shop.add_vendor()
    watch.shop.write_import("orders", source=VENDOR)
    watch.look()
    watch.fail("orders", LoadError("2 of 3 rows rejected"))
    watch.trouble("orders")
    assert watch.look(minutes=1) == ["failed: orders: 2 of 3 rows rejected"]
    assert watch.look(minutes=3) == ["source: orders: hangs at login"]


def test_a_paused_imports_failure_is_told_although_its_source_is_down(watch: Watch) -> None:
    watch.shop.add_vendor()
    watch.shop.write_import("orders", source=VENDOR, status="paused")
    watch.trouble("orders")
    watch.fail("orders", HANGS)
    assert watch.look() == ["failed: orders: vendor: it hangs"]


def test_each_column_that_a_vendor_adds_is_told_of_once(watch: Watch) -> None:
    def deliver(number: int, *more: str) -> None:
        header = ",".join([HEADER, *more])
        watch.load(f"Points_{number}.csv", f"{header}\nC1,Gold,{number},2024-05-01{',' * len(more)}\n")

    deliver(1)
    assert watch.look() == []
    deliver(2, "Note")
    assert watch.look() == ["columns: points: a new column, not loaded: 'Note'"]
    deliver(3, "Note", "Score")
    assert watch.look() == [], "the next message waits for ten minutes"
    deliver(4, "Note", "Score")
    assert watch.look(minutes=10) == ["columns: points: a new column, not loaded: 'Score'"]
    deliver(5)
    deliver(6, "Note", "Score")
    assert [watch.look(minutes=30) for _ in range(3)] == [[], [], []]
    deliver(7, "Note", "Score", SECRET)
    [title] = watch.look(minutes=30)
    assert title.startswith("columns: points: ")


def test_the_message_about_a_source_says_step_since_when_and_what_waits(watch: Watch) -> None:
    watch.shop.add_vendor()
    watch.shop.write_import("feed", source=VENDOR)
    watch.trouble("feed", trouble="denied")
    watch.shop.now += timedelta(minutes=5)
    send_alerts(watch.shop.site(environment="prod"), watch.instance, watch.shop.now)
    [body] = watch.endpoint.got
    assert (body["title"], body["type"]) == ("[prod] source: feed: refuses at login", "failure")
    for expected in (
        "connection vendor refuses at login",
        "since 2026-11-22 09:15 UTC",
        "import feed",
        "ingest check feed",
    ):
        assert expected in body["message"]


def test_a_paused_import_and_a_draft_wait_for_no_source(watch: Watch) -> None:
    watch.shop.add_vendor()
    for status in ("paused", "draft"):
        watch.shop.write_import(status, source=VENDOR, status=status)
    watch.trouble("paused", "draft")
    assert watch.look(minutes=10) == []


def break_import(shop: Shop) -> None:
    shop.write_import(rejekts={"max_rows": 1})


def break_syntax(shop: Shop) -> None:
    path = shop.home / "imports" / "points.yaml"
    path.write_text(path.read_text() + f"\ncolumns: [{SECRET}\n")


def break_databases(shop: Shop) -> None:
    path = shop.home / "databases.yaml"
    path.write_text(path.read_text().replace("key: customer_id", "kee: customer_id"))


def break_connections(shop: Shop) -> None:
    path = shop.home / "connections.yaml"
    path.write_text(path.read_text().replace("type: csv", "type: cvs"))


BREAKS: list[tuple[Callable[[Shop], None], str, str]] = [
    (break_import, "points: imports/points.yaml:", "rejekts: unknown key"),
    (break_syntax, "points: imports/points.yaml:", "points.yaml:"),
    (break_databases, "points: databases.yaml:", "databases.customers.k"),
    (break_connections, "points: connections.yaml:", "connections.uploads.type: unknown type"),
]


@pytest.mark.parametrize(("damage", "subject", "words"), BREAKS, ids=[each[0].__name__ for each in BREAKS])
@pytest.mark.parametrize("own", [True, False], ids=["told by the import's own notify", "told by a group"])
def test_a_live_imports_yaml_that_breaks_is_told_with_file_line_and_key_until_it_is_right_again(
    watch: Watch, damage: Callable[[Shop], None], subject: str, words: str, own: bool
) -> None:
    if own:
        (watch.shop.home / "notify.yaml").unlink()
        watch.shop.write_import(notify=[{"on": ["config", "recovered"], "to": {"env": "HOOK"}}])
    right = {path: path.read_text() for path in watch.shop.home.rglob("*.yaml")}
    loaded = watch.shop.site()
    assert watch.look() == []
    damage(watch.shop)
    watch.shop.now += timedelta(minutes=1)
    send_alerts(loaded, watch.instance, watch.shop.now)  # a code server that was loaded before
    [body] = watch.endpoint.got
    assert body["title"].startswith(f"config: {subject}")
    assert words in body["message"]
    assert SECRET not in json.dumps(body)
    watch.endpoint.got.clear()
    assert watch.look(minutes=60) == []
    for path, text in right.items():
        path.write_text(text)
    [recovered] = watch.look()
    assert recovered.startswith("recovered: points: was broken from")


def test_a_file_that_was_never_live_alarms_nobody(watch: Watch) -> None:
    watch.shop.write_import("newcomer", rejekts=1)
    watch.shop.write_import("sketch", status="draft")
    assert watch.look() == []
    watch.shop.write_import("sketch", status="draft", rejekts=1)
    assert watch.look() == []


def test_if_the_groups_cannot_be_read_those_of_before_are_told(watch: Watch) -> None:
    watch.look()
    (watch.shop.home / "notify.yaml").write_text("groups: [")
    [title] = watch.look()
    assert title.startswith("config: notify: notify.yaml:2")
    watch.load("Points_1.csv", ONE_BAD)
    assert watch.look() == ["failed: points: 1 of 2 rows rejected"]
    write_groups(watch.shop, ops={"to": [{"env": "HOOK"}]})
    [title] = watch.look()
    assert title.startswith("recovered: notify: was broken")


@pytest.mark.parametrize(
    ("group", "fits"),
    [
        ({}, True),
        ({"imports": ["points"]}, True),
        ({"imports": ["po*", "nothing_*"]}, True),
        ({"imports": ["other_*"]}, False),
        ({"databases": ["customers"], "connections": ["uploads"]}, True),
        ({"databases": ["customers"], "connections": ["vendor"]}, False),
        ({"severity": "failure"}, False),
        ({"on": ["rejected"]}, True),
        ({"on": ["failed", "recovered"]}, False),
    ],
)
def test_a_group_is_told_of_its_imports_kinds_and_severities(watch: Watch, group: dict[str, Any], fits: bool) -> None:
    watch.shop.add_vendor()
    write_groups(watch.shop, ops={"to": [{"env": "HOOK"}], **group})
    project = watch.shop.site().project
    assert project.mistakes == ()
    kinds = [kind for recipient in Routes(project, {}).of("points") for kind in recipient.kinds]
    assert ("rejected" in kinds) is fits


def test_nobody_is_told_twice_by_import_databases_and_groups(watch: Watch) -> None:
    entry = [{"on": ["failed"], "to": {"env": "HOOK"}}]
    watch.shop.write_import(notify=entry)
    (watch.shop.home / "databases.yaml").write_text(yaml.safe_dump({**DATABASES, "notify": entry}))
    watch.load("Points_1.csv", ONE_BAD)
    assert watch.look() == ["failed: points: 1 of 2 rows rejected"]


def test_several_broken_files_are_counted_and_recovered_means_that_none_is_left(watch: Watch) -> None:
    watch.load("Points_1.csv", ONE_BAD)
    watch.load("Points_2.csv", ONE_BAD.replace("many", SECRET))
    watch.shop.now += timedelta(minutes=1)
    send_alerts(watch.shop.site(), watch.instance, watch.shop.now)
    [body] = watch.endpoint.got
    assert body["title"] == "failed: points: 2 files failed"
    assert body["message"].count("Points_") >= 2
    assert SECRET not in json.dumps(body)
    watch.endpoint.got.clear()
    watch.load("Points_3.csv", GOOD)
    watch.load("Points_2.csv", GOOD)
    assert watch.look(minutes=60) == []
    watch.load("Points_1.csv", GOOD)
    [recovered] = watch.look()
    assert recovered.startswith("recovered: points: had failed from")


def test_rows_that_were_rejected_before_the_last_load_are_told_too(watch: Watch) -> None:
    watch.shop.write_import(rejects={"unlimited": True})
    watch.load("Points_0.csv", GOOD)
    watch.look()
    watch.load("Points_1.csv", ONE_BAD)
    watch.load("Points_2.csv", GOOD)
    assert watch.look() == ["rejected: points: 1 of 2 rows rejected"]
    assert watch.look() == []


STATES: list[tuple[dict[OpenState, int], str]] = [
    ({"failed": 1}, "1 window failed"),
    ({"failed": 12, "due": 1}, "12 windows failed, 1 window waits"),
    ({"refused": 1, "failed": 2, "queued": 1, "settling": 1}, "2 windows failed, 1 window refused, 2 windows wait"),
    ({"terminated": 1, "running": 1, "paused": 1, "held": 1}, "1 window terminated, 2 windows wait, 1 window running"),
    ({"dropped": 2}, "2 windows dropped from the queue"),
]


@pytest.mark.parametrize(("states", "words"), STATES)
def test_items_are_counted_by_what_became_of_them(states: dict[OpenState, int], words: str) -> None:
    items = [OpenItem("points", "item", state, NOW) for state, count in states.items() for _ in range(count)]
    assert counted("window", items) == words


@pytest.mark.parametrize(
    ("status", "hours", "words"),
    [("STARTED", 0.9, None), ("STARTED", 1.1, "running"), ("QUEUED", 0.9, None), ("QUEUED", 1.1, "queued")],
)
def test_a_run_or_a_queue_that_does_not_move_is_stuck(
    watch: Watch, status: str, hours: float, words: str | None
) -> None:
    watch.shop.deliver("Points_1.csv", GOOD, age=timedelta(minutes=1))
    item = watch.shop.arrive(watch.instance)
    job = watch.shop.definitions().resolve_implicit_global_asset_job_def()
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("ingest_pipelines"), "__repository__")
    run = watch.instance.create_run_for_job(
        job, tags={"ingest/import": "points", "dagster/partition": str(item.key)}, status=DagsterRunStatus(status),
        remote_job_origin=RemoteJobOrigin(repository, "__ASSET_JOB"),
    )  # fmt: skip
    watch.shop.now = watch.instance.get_run_records(limit=1)[0].create_timestamp
    watch.shop.now += timedelta(hours=hours)
    send_alerts(watch.shop.site(), watch.instance, watch.shop.now)
    for message in watch.endpoint.got if words == "queued" else ():
        assert "\nit waits for Dagster's daemon to start it\n" in message["message"]
    assert watch.endpoint.new_titles() == ([f"stuck: points: {words} for {hours:g} hours"] if words else [])
    watch.instance.delete_run(run.run_id)
    assert len(watch.look()) == (1 if words else 0)


def test_the_watcher_tells_that_dagsters_storage_has_not_answered_since_it_began(watch: Watch) -> None:
    def connect(settings: Settings) -> DagsterInstance:
        raise TargetUnavailable("Dagster's storage does not answer")

    site = watch.shop.site()
    watcher = Watcher(site.settings, site.project, clock=lambda: watch.shop.now, connect=connect)

    titles: list[str] = []

    def told() -> list[str]:
        watch.shop.now += timedelta(minutes=1)
        watcher.look()
        titles.extend(watch.endpoint.new_titles())
        return titles

    until(told)
    assert titles == ["stuck: storage: storage not well"]


def test_alerts_that_an_earlier_version_has_told_are_not_told_again(
    shop: Shop, http_endpoint: Endpoint, kept_instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK", http_endpoint.url)
    write_groups(shop, ops={"to": [{"env": "HOOK"}]})
    watch = Watch(shop, http_endpoint, kept_instance)
    shop.deliver("Points_1.csv", ONE_BAD, age=timedelta(minutes=1))
    item = shop.arrive(kept_instance)
    shop.run(kept_instance, item)
    kept = {
        "item": str(item.key), "words": "1 of 2 rows were rejected", "next_step": "ingest report points", "run_id": "",
        "since": NOW.isoformat(), "told": ["HOOK"], "over": False, "relieved": [],
    }  # fmt: skip
    cursor = json.dumps({"open": [["points", "failed", kept]], "seen_load": 1})
    origin = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("ingest_pipelines"), "__repository__")
    kept_instance.add_instigator_state(
        InstigatorState(
            RemoteInstigatorOrigin(origin, "alerts"), InstigatorType.SENSOR, InstigatorStatus.RUNNING,
            SensorInstigatorData(cursor=cursor),
        )
    )  # fmt: skip
    assert watch.look() == []
    shop.now += timedelta(minutes=1)
    shop.deliver("Points_1.csv", GOOD, age=timedelta(minutes=1))
    shop.run(kept_instance, shop.arrive(kept_instance))
    [recovered] = watch.look()
    assert recovered.startswith("recovered: points: had failed from 2026-11-22 09:15")
