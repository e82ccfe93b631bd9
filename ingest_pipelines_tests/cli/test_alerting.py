"""`ingest alerts` and `ingest notify test`: what is open and who got a message, and whether an address accepts one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from dagster import DagsterInstance

from ingest_pipelines.orchestration.alerts.conditions import Condition
from ingest_pipelines.orchestration.alerts.send_alerts import send_alerts
from ingest_pipelines_tests.cli.terminal import Terminal
from ingest_pipelines_tests.orchestration.conftest import Shop, new_shop
from ingest_pipelines_tests.servers.http_endpoint import Endpoint


@pytest.fixture
def shop(tmp_path: Path, database_url: str, http_endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop with two groups; nothing answers at the address of one of them."""
    monkeypatch.setenv("HOOK", http_endpoint.url)
    monkeypatch.setenv("DEAD_HOOK", "json://user:secret-of-the-hook@127.0.0.1:1")
    shop = new_shop(tmp_path, database_url)
    groups = {"ops": {"to": [{"env": "HOOK"}]}, "crm": {"to": [{"env": "DEAD_HOOK"}, {"env": "HOOK"}]}}
    (shop.home / "notify.yaml").write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    return shop


@pytest.fixture
def terminal(shop: Shop, http_endpoint: Endpoint) -> Terminal:
    environment = {
        "INGEST_HOME": str(shop.home), "INGEST_STATE": str(shop.state), "INGEST_DATABASE_URL": shop.database_url,
        "HOOK": http_endpoint.url, "DEAD_HOOK": "json://user:secret-of-the-hook@127.0.0.1:1",
        "INGEST_ENVIRONMENT": "prod",
    }  # fmt: skip
    return Terminal(shop.home, environment)


def test_a_test_message_says_of_every_address_whether_it_was_accepted(
    terminal: Terminal, http_endpoint: Endpoint
) -> None:
    good = terminal.ingest("notify", "test", "ops")
    assert (good.code, good.out) == (0, "  ok      HOOK\n")
    assert http_endpoint.new_titles() == ["[prod] test: ops"]
    both = terminal.ingest("notify", "test", "--json")
    assert both.code == 3
    assert sorted((each["recipient"], each["accepted"]) for each in both.json) == [("DEAD_HOOK", False), ("HOOK", True)]
    assert "1 of 2 addresses did not accept the message" in both.err
    assert "secret-of-the-hook" not in both.out + both.err
    assert len(http_endpoint.new_titles()) == 1


def test_a_group_that_is_unknown_or_has_mistakes_gets_no_message(
    terminal: Terminal, shop: Shop, http_endpoint: Endpoint
) -> None:
    unknown = terminal.ingest("notify", "test", "opps")
    assert unknown.code == 2
    assert "there is no group 'opps'" in unknown.err
    assert "did you mean 'ops'?" in unknown.err
    (shop.home / "notify.yaml").write_text("groups: {ops: {too: []}}\n")
    wrong = terminal.ingest("notify", "test")
    assert wrong.code == 2
    assert "notify.yaml:1: groups.ops.too: unknown key; did you mean 'to'?" in wrong.err
    (shop.home / "notify.yaml").unlink()
    nobody = terminal.ingest("notify", "test")
    assert nobody.code == 2
    assert "no alert has an address" in nobody.err
    assert http_endpoint.got == []


def test_open_alerts_say_since_when_what_and_who_got_a_message(terminal: Terminal, shop: Shop) -> None:
    assert terminal.ingest("alerts").out == "no open alerts\n"
    stuck = Condition(
        "", "stuck", "the daemon does not answer", reason="no heartbeat", cause="daemon", imports=("points",)
    )
    with DagsterInstance.ephemeral() as instance:
        send_alerts(shop.site(), instance, shop.now, extra=[stuck])
        text = terminal.ingest("alerts")
        for expected in ("stuck", "daemon", "no heartbeat; 1 import", "HOOK 22 Nov"):
            assert expected in text.out
        assert "DEAD_HOOK gets no alerts since" in text.err
        [alert] = terminal.ingest("alerts", "--json").json
        assert (alert["kind"], alert["cause"], list(alert["sent"])) == ("stuck", "daemon", ["HOOK"])
        send_alerts(shop.site(), instance, shop.now + timedelta(minutes=1), extra=[])
    assert terminal.ingest("alerts").out == "no open alerts\n"
