"""Two senders, a killed one, and addresses that hang, drop or refuse: each alert is sent once, and none is lost."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from dagster import DagsterInstance

from ingest_pipelines.config.base import Secret
from ingest_pipelines.config.notify import SEVERITIES
from ingest_pipelines.orchestration.alerts.alert_messages import Message
from ingest_pipelines.orchestration.alerts.conditions import Condition
from ingest_pipelines.orchestration.alerts.outbox import BUSY, HANGS, Outbox
from ingest_pipelines.orchestration.alerts.recipients import Recipient
from ingest_pipelines.orchestration.alerts.send_alerts import ANOTHER, send_alerts
from ingest_pipelines_tests.orchestration.conftest import ONE_BAD, Shop
from ingest_pipelines_tests.servers.http_endpoint import Endpoint
from ingest_pipelines_tests.waiting import until

STUCK = Condition("", "stuck", "the daemon does not answer", reason="no heartbeat", cause="daemon")


@pytest.fixture
def told(shop: Shop, http_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """The shop, whose alerts go to the http_endpoint."""
    monkeypatch.setenv("HOOK", http_endpoint.url)
    (shop.home / "notify.yaml").write_text(yaml.safe_dump({"groups": {"ops": {"to": [{"env": "HOOK"}]}}}))
    return shop


def recipient(name: str) -> Recipient:
    return Recipient(name, Secret(env=name), frozenset(SEVERITIES), frozenset(SEVERITIES))


def message(name: str, title: str = "title") -> Message:
    return Message(recipient(name), "failed", False, (), title, "body")


def test_an_http_endpoint_gets_title_text_and_severity(
    told: Shop, http_endpoint: Endpoint, instance: DagsterInstance
) -> None:
    site = told.site(environment="prod")
    assert send_alerts(site, instance, told.now, extra=[STUCK]).sent == ("[prod] stuck: daemon: no heartbeat to HOOK",)
    assert send_alerts(site, instance, told.now, extra=[STUCK]).sent == ()
    told.now += timedelta(minutes=1)
    assert len(send_alerts(site, instance, told.now, extra=[]).sent) == 1
    assert [body["type"] for body in http_endpoint.got] == ["failure", "success"]
    assert http_endpoint.titles[1].startswith("[prod] recovered: daemon: was stuck from ")


def test_a_sensor_that_knows_nothing_of_the_watchers_alerts_does_not_end_them(
    told: Shop, http_endpoint: Endpoint, instance: DagsterInstance
) -> None:
    send_alerts(told.site(), instance, told.now, extra=[STUCK])
    for _ in range(3):
        told.now += timedelta(minutes=1)
        assert send_alerts(told.site(), instance, told.now).words == "no new alerts"
        assert send_alerts(told.site(), instance, told.now, extra=[STUCK]).words == "no new alerts"
    assert http_endpoint.titles == ["stuck: daemon: no heartbeat"]


def test_of_two_senders_at_once_one_sends_and_the_other_nothing(
    told: Shop, http_endpoint: Endpoint, instance: DagsterInstance
) -> None:
    http_endpoint.answers.clear()
    elsewhere = told.site()
    elsewhere = type(elsewhere)(
        type(elsewhere.settings)(**{**vars(elsewhere.settings), "state": told.state.parent / "other"}),
        elsewhere.project, clock=elsewhere.clock,
    )  # fmt: skip
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(send_alerts, told.site(), instance, told.now, extra=[STUCK])
        until(lambda: http_endpoint.got)
        assert send_alerts(told.site(), instance, told.now, extra=[STUCK]) == ANOTHER, "on the same machine"
        assert send_alerts(elsewhere, instance, told.now, extra=[STUCK]) == ANOTHER, "on another one"
        http_endpoint.answers.set()
        assert len(first.result().sent) == 1
    assert send_alerts(elsewhere, instance, told.now, extra=[STUCK]).sent == ()
    assert http_endpoint.titles == ["stuck: daemon: no heartbeat"]


SENDER = """
import os, sys
from datetime import datetime
from pathlib import Path
from dagster import DagsterInstance
from ingest_pipelines.config import Settings, read_project
from ingest_pipelines.orchestration.alerts import send_alerts as module
from ingest_pipelines.orchestration.alerts.conditions import Condition
from ingest_pipelines.orchestration.site import Site
home, state, url, now = sys.argv[1:]
site = Site(Settings(Path(home), Path(state), url, None), read_project(Path(home)))
causes = [Condition("", "stuck", "it stands", reason="it stands", cause=cause) for cause in ("daemon", "queue")]
with DagsterInstance.ephemeral() as instance:
    module.send_alerts(site, instance, datetime.fromisoformat(now), extra=causes)
"""


def test_a_sender_that_is_killed_after_it_has_sent_and_before_it_has_noted_loses_nothing(
    told: Shop, http_endpoint: Endpoint, instance: DagsterInstance
) -> None:
    """The message that was under way comes twice, no other does."""
    http_endpoint.answers.clear()
    words = [sys.executable, "-c", SENDER, told.home, told.state, told.database_url, told.now.isoformat()]
    with subprocess.Popen(list(map(str, words)), env={**os.environ}) as sender:
        until(lambda: http_endpoint.got or sender.poll() is not None, seconds=90)
        sender.send_signal(signal.SIGKILL)
    http_endpoint.answers.set()
    first = list(http_endpoint.titles)
    assert len(first) == 1
    causes = [Condition("", "stuck", "it stands", reason="it stands", cause=cause) for cause in ("daemon", "queue")]
    send_alerts(told.site(), instance, told.now, extra=causes)
    send_alerts(told.site(), instance, told.now, extra=causes)
    again = http_endpoint.titles[1:]
    assert sorted(again) == ["stuck: daemon: it stands", "stuck: queue: it stands"]


@contextmanager
def silent_server(*, drops: bool = False) -> Iterator[int]:
    """A port that accepts connections, and then says nothing, or hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        ended, connections = threading.Event(), list[socket.socket]()

        def accept() -> None:
            while not ended.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                if drops:
                    connection.close()
                else:
                    connections.append(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ended.set()
            thread.join()
            for connection in connections:
                connection.close()


@pytest.mark.parametrize("scheme", ["json", "mailto"])
def test_addresses_that_hang_or_drop_hold_up_no_other(
    http_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    end = "?from=a@example.com&to=b@example.com" if scheme == "mailto" else ""
    with silent_server() as hanging, silent_server(drops=True) as dropping:
        for number in range(8):
            monkeypatch.setenv(f"HANGS_{number}", f"{scheme}://127.0.0.1:{hanging}{end}")
        monkeypatch.setenv("DROPS", f"{scheme}://127.0.0.1:{dropping}{end}")
        monkeypatch.setenv("WORKS", http_endpoint.url)
        outbox = Outbox()
        names = [*(f"HANGS_{number}" for number in range(8)), "DROPS", "WORKS"]
        begun = time.monotonic()
        found = {
            sending.message.recipient.name: sending.error
            for sending in outbox.deliver([message(name) for name in names], seconds=5.0)
        }
        assert time.monotonic() - begun < 40
        assert found["WORKS"] == ""
        assert found["DROPS"] in {"the service does not answer", "the service did not accept it"}
        assert {found[f"HANGS_{number}"] for number in range(8)} <= {HANGS, "the service does not answer"}
        second = {sending.error for sending in outbox.deliver([message("HANGS_0"), message("HANGS_1")], seconds=0.1)}
        assert second <= {BUSY, HANGS, "the service does not answer", "the service did not accept it"}
    assert http_endpoint.titles == ["title"]


def test_a_message_that_is_accepted_after_the_deadline_is_not_sent_again(
    told: Shop, http_endpoint: Endpoint, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest_pipelines.orchestration.alerts.send_alerts.SECONDS", 0.5)
    http_endpoint.answers.clear()
    assert send_alerts(told.site(), instance, told.now, extra=[STUCK]).unsent == (
        f"stuck: daemon: no heartbeat to HOOK: {HANGS}",
    )
    told.now += timedelta(seconds=30)
    outcome = send_alerts(told.site(), instance, told.now, extra=[STUCK])
    assert (outcome.sent, len(outcome.unsent)) == ((), 1), "it is left alone for some minutes"
    http_endpoint.answers.set()
    until(lambda: all(thread.name != "alerts" for thread in threading.enumerate()))
    told.now += timedelta(seconds=30)
    assert send_alerts(told.site(), instance, told.now, extra=[STUCK]).sent == ("stuck: daemon: no heartbeat to HOOK",)
    told.now += timedelta(minutes=10)
    assert send_alerts(told.site(), instance, told.now, extra=[STUCK]).words == "no new alerts"
    assert http_endpoint.titles == ["stuck: daemon: no heartbeat"]


def test_an_address_that_refuses_is_asked_less_and_less_often_and_gets_all_in_the_end(
    told: Shop, http_endpoint: Endpoint, instance: DagsterInstance
) -> None:
    http_endpoint.status = 401
    for _ in range(20):
        told.now += timedelta(minutes=1)
        unsent = send_alerts(told.site(), instance, told.now, extra=[STUCK]).unsent
        assert unsent == ("stuck: daemon: no heartbeat to HOOK: the service refuses the login",)
    assert 4 <= http_endpoint.asked <= 8
    [(error,)] = told.rows("SELECT error FROM ingest.alert_addresses")
    assert error == "the service refuses the login"
    http_endpoint.status = 200
    told.now += timedelta(minutes=10)
    assert len(send_alerts(told.site(), instance, told.now, extra=[STUCK]).sent) == 1
    assert told.rows("SELECT * FROM ingest.alert_addresses") == []


def test_while_the_target_is_down_the_state_folder_knows_what_was_told(
    told: Shop, http_endpoint: Endpoint, instance: DagsterInstance
) -> None:
    url, told.database_url = told.database_url, "postgresql://nobody@127.0.0.1:1/none"
    for _ in range(3):
        told.now += timedelta(minutes=1)
        send_alerts(told.site(), instance, told.now, extra=[STUCK])
        send_alerts(told.site(), instance, told.now)
    assert sorted(http_endpoint.titles) == ["failed: the target: does not answer", "stuck: daemon: no heartbeat"]
    told.database_url = url
    for _ in range(2):
        told.now += timedelta(minutes=1)
        send_alerts(told.site(), instance, told.now)
        send_alerts(told.site(), instance, told.now, extra=[STUCK])
    assert len(http_endpoint.titles) == 3
    assert http_endpoint.titles[2].startswith("recovered: the target: ")
    assert oct((Path(told.state) / "alerts" / "open.json").stat().st_mode)[-3:] == "600"


def test_while_dagsters_storage_is_down_the_watcher_tells_so_and_nothing_recovers(
    told: Shop, http_endpoint: Endpoint, instance: DagsterInstance
) -> None:
    told.deliver("Points_1.csv", ONE_BAD)
    told.run(instance, told.arrive(instance))
    send_alerts(told.site(), instance, told.now)
    for _ in range(2):
        told.now += timedelta(minutes=1)
        send_alerts(told.site(), None, told.now, extra=[STUCK])
    assert http_endpoint.titles == ["failed: points: 1 of 2 rows rejected", "stuck: daemon: no heartbeat"]
