"""What hangs on `table/<schema>/<table>` runs after each change of the table, and nothing holds it back for good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import psycopg
import pytest
from dagster import (
    AssetKey,
    AssetSelection,
    AutomationCondition,
    DagsterInstance,
    Definitions,
    asset,
    evaluate_automation_conditions,
    materialize,
)

from ingest_pipelines.orchestration.assets.table_events import UNTOLD_AFTER, report_untold_changes
from ingest_pipelines.orchestration.io_managers import target
from ingest_pipelines.orchestration.schedules.query_items import find_query_items
from ingest_pipelines_tests.orchestration.conftest import GOOD, HEADER, ONE_BAD, Shop
from ingest_pipelines_tests.servers.postgres import connection_to

TABLE = AssetKey(["table", "crm", "customers"])
REPORT = AssetKey("report")
REFUSED = f'{HEADER}\nC1,"Gold,10,2024-05-01\n'
MINUTE = timedelta(minutes=1)


@asset(key=REPORT, deps=[TABLE], automation_condition=AutomationCondition.eager())
def report() -> None:
    """A team's own asset, as `docs/dagster.md` has it."""


class Team:
    """A team's asset beside our definitions, and the automation that looks at both now and then."""

    def __init__(self, shop: Shop, instance: DagsterInstance) -> None:
        self.shop, self.instance = shop, instance
        self._evaluated: object = None
        self.serial = 0

    def requested(self) -> int:
        """How many runs of the team's asset the automation requests now; they are run."""
        definitions = Definitions.merge(self.shop.definitions(), Definitions(assets=[report]))
        cursor = None if self._evaluated is None else self._evaluated.cursor  # type: ignore[attr-defined]
        self._evaluated = evaluated = evaluate_automation_conditions(
            definitions, self.instance, asset_selection=AssetSelection.assets(REPORT), cursor=cursor
        )
        requested = evaluated.get_num_requested(REPORT)
        for _ in range(requested):
            materialize([report], instance=self.instance)
        return requested

    def load(self, text: str) -> str:
        """A new file, loaded; the item's status in the ledger."""
        self.serial += 1
        self.shop.now += MINUTE
        self.shop.deliver(f"Points_{self.serial}.csv", text, age=timedelta(seconds=30))
        item = self.shop.arrive(self.instance)
        self.shop.run(self.instance, item)
        [(status,)] = self.shop.rows(f"SELECT status FROM ingest.items WHERE key = '{item.key}'")
        return str(status)

    def tell(self) -> int:
        """How many untold changes housekeeping tells of."""
        return report_untold_changes(self.shop.site(), self.instance)


@pytest.fixture
def team(shop: Shop, instance: DagsterInstance) -> Team:
    shop.now = datetime.now(UTC)
    return Team(shop, instance)


def test_an_eager_asset_runs_after_each_change_through_good_failed_refused_and_recovered_items(team: Team) -> None:
    """An item that is refused for good holds back nothing: the table has no partition of it."""
    changed = GOOD.replace(",20,", ",21,")
    assert team.requested() == 0  # nothing was loaded yet
    story = [
        (REFUSED, "refused", 0), (GOOD, "committed", 1), (GOOD, "committed", 0), (ONE_BAD, "failed", 0),
        (changed, "committed", 1), (REFUSED, "refused", 0), (GOOD, "committed", 1), (REFUSED, "refused", 0),
    ]  # fmt: skip
    for text, status, runs in story:
        assert (team.load(text), team.requested()) == (status, runs)
        assert team.requested() == 0
    team.shop.write_import(rejects={"max_rows": 1})
    assert (team.load(ONE_BAD.replace("Gold", "Bronze")), team.requested()) == ("committed", 1)


def test_the_chunks_of_a_drain_that_failed_later_are_a_change(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = team.shop
    monkeypatch.setenv("SHOP_PW", str(urlsplit(shop.database_url).password))
    shop.add_vendor(shop_db=connection_to(shop.database_url))
    with psycopg.connect(shop.database_url) as connection:
        connection.execute("CREATE TABLE visits (who text, n text)")
        connection.execute("INSERT INTO visits VALUES ('V1', '1'), ('V2', '2'), ('V3', 'three'), ('V4', 'four')")
        connection.execute("ALTER TABLE visits ADD id serial")
    source = {
        "connection": "shop_db",
        "query": "SELECT id, who, n FROM visits WHERE id > {lastItem} ORDER BY id LIMIT 2",
        "cursor": {"column": "id", "start": 0},
    }
    columns = {"who": "customer_id", "n": {"field": "points", "type": "int"}}
    shop.write_import(source=source, columns=columns)
    site = shop.site()
    [item] = find_query_items(site, site.project.require("points")).items
    team.instance.add_dynamic_partitions("customers/points", [str(item.key)])
    assert team.requested() == 0
    assert not shop.run(team.instance, item).success
    assert shop.rows("SELECT count(*) FROM crm.customers") == [(2,)]
    assert team.requested() == 1


@pytest.mark.parametrize("point", ["write_report", "table_changed"])
def test_a_change_whose_run_died_before_it_said_so_is_told_by_housekeeping_once(
    team: Team, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    def dies(*arguments: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(target, point, dies)
        team.load(GOOD)
    assert team.shop.rows("SELECT count(*) FROM crm.customers") == [(2,)]
    assert (team.tell(), team.requested()) == (0, 0)  # the run may still say it
    team.shop.now += 2 * UNTOLD_AFTER
    assert (team.tell(), team.requested()) == (1, 1)
    assert (team.tell(), team.requested()) == (0, 0)
    assert (team.load(GOOD), team.requested()) == ("committed", 0)  # the same rows
    team.shop.now += 2 * UNTOLD_AFTER
    assert (team.tell(), team.requested()) == (0, 0)


def test_what_runs_have_told_is_not_told_again(team: Team) -> None:
    team.load(GOOD)
    team.load(GOOD.replace("Gold", "Bronze"))
    team.shop.now += 2 * UNTOLD_AFTER
    assert team.tell() == 0
