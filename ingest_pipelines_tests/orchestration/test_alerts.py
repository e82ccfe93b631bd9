"""What people are told, once, and of its end; against a real mail server with STARTTLS and a login."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
import yaml
from dagster import DagsterInstance, DagsterRunStatus, SkipReason

from ingest_pipelines.config.base import Secret
from ingest_pipelines.orchestration.alerts.alert_sensor import alert_sensor
from ingest_pipelines.orchestration.alerts.conditions import Condition
from ingest_pipelines.orchestration.alerts.notifier import send
from ingest_pipelines.orchestration.alerts.send_alerts import SentAlerts, send_alerts
from ingest_pipelines.orchestration.runs.launch import run_import
from ingest_pipelines_tests.orchestration.conftest import DATABASES, GOOD, HEADER, ONE_BAD, Shop
from ingest_pipelines_tests.orchestration.ticks import sensor_tick
from ingest_pipelines_tests.servers.smtp import SmtpServer

FAILED = "failed: points: 1 of 2 rows rejected"
ALL = ["failed", "rejected", "recovered", "late", "volume", "columns", "source", "config", "stuck"]


class Mailbox:
    """The shop's import, whose alerts go to a mail server."""

    def __init__(self, shop: Shop, server: SmtpServer, instance: DagsterInstance) -> None:
        self.shop, self.server, self.instance = shop, server, instance
        self.settings: dict[str, Any] = {"ui_url": "https://ingest.example.com"}
        self._files = 0

    def notify(self, *kinds: str, **changes: Any) -> None:
        self.shop.write_import(notify=[{"on": list(kinds), "to": {"env": "CRM_ALERTS"}}], **changes)

    def load(self, text: str) -> None:
        self._files += 1
        self._arrive(text)

    def mend(self, text: str = GOOD) -> None:
        """The last file comes again, under its name."""
        self._arrive(text)

    def _arrive(self, text: str) -> None:
        self.shop.now += timedelta(minutes=30)
        self.shop.deliver(f"Points_{self._files}.csv", text, age=timedelta(minutes=1))
        self.shop.run(self.instance, self.shop.arrive(self.instance))

    def tick(self, extra: list[Condition] | None = None, minutes: float = 1) -> SentAlerts:
        self.shop.now += timedelta(minutes=minutes)
        return send_alerts(self.shop.site(**self.settings), self.instance, self.shop.now, extra=extra)

    def subjects(self) -> list[str]:
        """Subjects of the letters that came since the last look."""
        found = [str(letter["Subject"]) for letter in self.server.letters]
        self.server.letters.clear()
        return found

    def text(self) -> str:
        """The text of the one letter that came since the last look."""
        [letter] = self.server.letters
        body = letter.get_body(("plain",))
        assert body is not None
        self.server.letters.clear()
        return str(body.get_content())


@pytest.fixture
def mailbox(shop: Shop, smtp_server: SmtpServer, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> Mailbox:
    monkeypatch.setenv("SSL_CERT_FILE", str(smtp_server.ca_file))
    monkeypatch.setenv("CRM_ALERTS", address(smtp_server))
    mailbox = Mailbox(shop, smtp_server, instance)
    mailbox.notify(*ALL)
    return mailbox


def address(server: SmtpServer, *, password: str | None = None, to: str = "crm@example.com") -> str:
    login = f"{server.username}:{password or server.password}"
    return f"mailtos://{login}@{server.host}:{server.port}?from=ingest@example.com&to={to}&mode=starttls"


def test_a_failure_is_told_with_import_item_reason_next_command_and_link(mailbox: Mailbox) -> None:
    mailbox.load(ONE_BAD)
    assert mailbox.tick().sent == (f"{FAILED} to CRM_ALERTS",)
    [letter] = mailbox.server.letters
    assert (letter["To"], letter["Subject"]) == ("crm@example.com", "failed: points: 1 of 2 rows rejected")
    body = letter.get_body(("plain",))
    assert body is not None
    text = body.get_content()
    [(run_id, item)] = mailbox.shop.rows("SELECT run_id, item FROM ingest.loads")
    for expected in (
        "import points",
        f"item {item}",
        "1 of 2 rows were rejected, and the import allows none",
        f"next: ingest run points --item {item}",
        f"https://ingest.example.com/runs/{run_id}",
    ):
        assert expected in text
    assert "many" not in text


@pytest.mark.parametrize("limit", [{"max_rows": 0}, {"unlimited": True}], ids=["failed", "rejected"])
def test_a_mail_about_rejects_names_lines_fields_and_rules_and_no_value(
    mailbox: Mailbox, limit: dict[str, Any]
) -> None:
    mailbox.notify(*ALL, rejects=limit)
    good = [f"C{number},Gold,1,2024-05-01" for number in range(9)]
    bad = ["Secret1,Gold,lots,2024-05-01", ",Gold,1,1900-01-01", "Secret2,Go\0ld,9.5,31 May", "Secret3,Gold,many,"]
    mailbox.load("\n".join([HEADER, *good, *bad, ""]))
    mailbox.tick()
    [letter] = mailbox.server.letters
    body = letter.get_body(("plain",))
    assert body is not None
    text = body.get_content()
    told = [line.strip().split(",")[0] for line in text.splitlines() if line.strip().startswith("line ")]
    listed = mailbox.shop.rows("SELECT line, field, code FROM ingest.rejects ORDER BY line, field, code LIMIT 5")
    assert told == [f"line {line}" for line, _, _ in listed]
    for line, field, code in listed:
        assert f"line {line}, {field}: {code}, " in text
    assert "and more: ingest rejects list points" in text
    for value in ("Secret", "lots", "many", "1900-01-01", "9.5", "31 May"):
        assert value not in text


def test_a_replay_that_fails_or_dies_alarms_nobody(mailbox: Mailbox) -> None:
    mailbox.load(GOOD)
    mailbox.tick()
    file = mailbox.shop.files / "replayed.csv"
    file.write_text(ONE_BAD)
    site = mailbox.shop.site()
    outcome = run_import(site, mailbox.instance, "points", file=file, corrections=[])
    assert outcome.error is not None
    [record] = mailbox.instance.get_run_records(limit=1)
    assert record.dagster_run.run_id == outcome.run_id
    mailbox.tick()
    with site.target.session() as connection:  # as of a process that died before the ledger knew
        connection.execute("DELETE FROM ingest.loads WHERE run_id = %s", (outcome.run_id,))
    mailbox.shop.now += timedelta(minutes=5)
    mailbox.tick()
    assert mailbox.subjects() == []


def test_more_of_the_same_is_held_back_and_recovery_is_told_once_when_nothing_is_broken(mailbox: Mailbox) -> None:
    mailbox.load(ONE_BAD)
    mailbox.tick()
    assert mailbox.subjects() == [FAILED]
    for _ in range(3):
        mailbox.tick(minutes=30)
    mailbox.load(GOOD)
    mailbox.tick()
    assert mailbox.subjects() == [], "a good file settles no other file"
    mailbox._files -= 1
    mailbox.mend(GOOD)
    mailbox.tick()
    mailbox.tick()
    [recovered] = mailbox.subjects()
    assert recovered.startswith("recovered: points: had failed from ")
    mailbox.load(ONE_BAD)
    mailbox.tick()
    assert mailbox.subjects() == [FAILED]


def test_rejects_that_were_left_behind_are_told(mailbox: Mailbox) -> None:
    mailbox.notify(*ALL, rejects={"unlimited": True})
    mailbox.load(ONE_BAD)
    mailbox.tick()
    assert mailbox.subjects() == ["rejected: points: 1 of 2 rows rejected"]
    mailbox.load(GOOD)
    mailbox.tick()
    assert mailbox.subjects() == []


def test_a_delivery_that_does_not_come_is_told_and_so_is_its_arrival(mailbox: Mailbox) -> None:
    mailbox.notify(*ALL, late_after="6h")
    mailbox.load(GOOD)
    mailbox.tick()
    mailbox.shop.now += timedelta(hours=7)
    mailbox.tick()
    mailbox.tick()
    assert mailbox.subjects() == ["late: points: due within 6 hours"]
    mailbox.mend()
    mailbox.tick()
    [recovered] = mailbox.subjects()
    assert recovered.startswith("recovered: points: ")


def test_a_paused_import_is_never_late(mailbox: Mailbox) -> None:
    mailbox.notify(*ALL, late_after="6h", status="paused")
    mailbox.load(GOOD)
    mailbox.shop.now += timedelta(hours=7)
    mailbox.tick()
    assert mailbox.subjects() == []


def test_a_volume_far_from_the_usual_is_told(mailbox: Mailbox) -> None:
    mailbox.notify(*ALL, shrink={"min_percent": 0})
    for rows in (40, 40, 40, 5):
        mailbox.load("\n".join([HEADER, *(f"C{n},Gold,{n + rows},2024-05-01" for n in range(rows)), ""]))
        mailbox.tick()
    assert mailbox.subjects() == ["volume: points: 5 rows; 40 are usual"]


def dead_run(mailbox: Mailbox, text: str, item: str | None = None, **tags: str) -> Any:
    """A run of a file that has arrived; its process died before the ledger knew."""
    mailbox._files += 1
    mailbox.shop.deliver(f"Points_{mailbox._files}.csv", text, age=timedelta(minutes=1))
    key = item or str(mailbox.shop.arrive(mailbox.instance).key)
    job = mailbox.shop.definitions().resolve_implicit_global_asset_job_def()
    run = mailbox.instance.create_run_for_job(job, tags={"ingest/import": "points", "dagster/partition": key, **tags})
    mailbox.instance.report_run_failed(run, "the run's process was killed")
    assert mailbox.instance.get_run_by_id(run.run_id).status == DagsterRunStatus.FAILURE  # type: ignore[union-attr]
    mailbox.shop.now = mailbox.instance.get_run_records(limit=1)[0].create_timestamp
    return run


def test_a_run_that_died_without_a_word_is_told_until_its_file_is_loaded(mailbox: Mailbox) -> None:
    dead_run(mailbox, GOOD)
    mailbox.tick()
    [subject] = mailbox.subjects()
    assert subject.startswith("failed: points: ")
    mailbox.shop.now += timedelta(days=2)
    mailbox.tick()
    assert mailbox.subjects() == []
    mailbox.mend()
    mailbox.tick()
    [recovered] = mailbox.subjects()
    assert recovered.startswith("recovered: points: had failed")


def test_a_run_that_dagster_tries_again_is_not_told(mailbox: Mailbox) -> None:
    dead_run(mailbox, GOOD, **{"dagster/will_retry": "true"})
    mailbox.tick()
    assert mailbox.subjects() == []


def test_a_run_without_a_partition_has_no_item_to_tell_of(mailbox: Mailbox) -> None:
    job = mailbox.shop.definitions().resolve_implicit_global_asset_job_def()
    run = mailbox.instance.create_run_for_job(job, tags={"ingest/import": "points"})
    mailbox.instance.report_run_failed(run)
    mailbox.shop.now = mailbox.instance.get_run_records(limit=1)[0].create_timestamp
    for _ in range(2):
        mailbox.tick()
        assert mailbox.subjects() == []
        mailbox.shop.now += timedelta(seconds=30)


def test_only_those_who_asked_for_a_kind_are_told_of_it(mailbox: Mailbox) -> None:
    mailbox.notify("recovered", "late")
    mailbox.load(ONE_BAD)
    mailbox.tick()
    assert mailbox.subjects() == []
    mailbox.mend()
    mailbox.tick()
    [recovered] = mailbox.subjects()
    assert recovered.startswith("recovered: points: ")


def test_one_address_can_be_told_about_every_import(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_ALERTS", address(mailbox.server, to="ops@example.com"))
    notify = [{"on": ["failed"], "to": {"env": "ALL_ALERTS"}}]
    (mailbox.shop.home / "databases.yaml").write_text(yaml.safe_dump({**DATABASES, "notify": notify}))
    mailbox.load(ONE_BAD)
    mailbox.tick()
    assert sorted(str(letter["To"]) for letter in mailbox.server.letters) == ["crm@example.com", "ops@example.com"]


def test_a_target_that_does_not_answer_or_says_no_is_told_once_and_hides_nothing(mailbox: Mailbox) -> None:
    mailbox.load(ONE_BAD)
    mailbox.tick()
    assert mailbox.subjects() == [FAILED]
    url, mailbox.shop.database_url = mailbox.shop.database_url, "postgresql://nobody@127.0.0.1:1/none"
    mailbox.tick()
    mailbox.shop.database_url = f"{url}_renamed"  # now it answers, and says no
    mailbox.tick()
    [subject] = mailbox.subjects()
    assert subject == "failed: the target: does not answer"
    mailbox.shop.database_url = url
    mailbox.tick()
    [subject] = mailbox.subjects()
    assert subject.startswith("recovered: the target: ")
    mailbox.tick()
    assert mailbox.subjects() == []


def test_what_a_server_refuses_is_tried_again_until_it_is_sent(mailbox: Mailbox) -> None:
    mailbox.server.refuse["crm@example.com"] = "451 try later"
    mailbox.load(ONE_BAD)
    assert mailbox.tick().unsent == (f"{FAILED} to CRM_ALERTS: the server refuses the recipient",)
    mailbox.server.refuse.clear()
    assert mailbox.tick().sent == (f"{FAILED} to CRM_ALERTS",)
    assert mailbox.tick().sent == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"password": "wrong"}, "the service refuses the login"),
        ({"to": "gone@example.com"}, "the server refuses the recipient"),
    ],
)
def test_a_refusal_says_why_and_shows_nothing_of_the_address(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], reason: str
) -> None:
    mailbox.server.refuse["gone@example.com"] = "550 no such user"
    monkeypatch.setenv("CRM_ALERTS", address(mailbox.server, **changes))
    assert send(Secret(env="CRM_ALERTS"), "title", "body") == reason


def test_the_time_of_day_is_no_status_code(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.Formatter, "formatTime", lambda *_: "2026-11-25 02:20:58,401")
    mailbox.server.refuse["crm@example.com"] = "451 try later"
    assert send(Secret(env="CRM_ALERTS"), "title", "body") == "the server refuses the recipient"


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    assert send(Secret(env="CRM_ALERTS"), "title", "body") == "the server's certificate is not trusted"
    assert mailbox.server.letters == []


def test_an_address_that_is_none_says_what_one_looks_like(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_ALERTS", "crm at example dot com")
    assert "is not an Apprise URL, such as mailtos://" in send(Secret(env="CRM_ALERTS"), "title", "body")


def test_the_sensor_and_another_process_tell_each_alert_once(mailbox: Mailbox) -> None:
    mailbox.load(ONE_BAD)
    assert _sensor_tick(mailbox) == "sent: failed: points: 1 of 2 rows rejected to CRM_ALERTS"
    assert len(mailbox.subjects()) == 1
    assert _sensor_tick(mailbox) == "no new alerts"
    assert mailbox.tick(extra=[]).words == "no new alerts"
    assert mailbox.subjects() == []


def test_without_anybody_to_tell_there_is_no_sensor(shop: Shop) -> None:
    assert alert_sensor(shop.site()) is None


def _sensor_tick(mailbox: Mailbox) -> str:
    sensor = alert_sensor(mailbox.shop.site())
    assert sensor is not None
    result = sensor_tick(sensor, mailbox.instance)
    assert isinstance(result, SkipReason)
    return str(result.skip_message)
