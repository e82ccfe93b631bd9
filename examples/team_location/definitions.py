"""A team's code location: imports beside an asset, a resource, a job and a schedule of its own."""

from pathlib import Path

import psycopg
from dagster import (
    AssetKey,
    AssetSelection,
    AutomationCondition,
    AutomationConditionSensorDefinition,
    ConfigurableResource,
    DefaultSensorStatus,
    Definitions,
    EnvVar,
    MaterializeResult,
    ScheduleDefinition,
    asset,
    define_asset_job,
    definitions,
    multiprocess_executor,
)

from ingest_pipelines import ingest_definitions

WAREHOUSE = EnvVar("WAREHOUSE_URL")


class Warehouse(ConfigurableResource):
    """The team's Postgres."""

    url: str

    def connect(self) -> psycopg.Connection:
        """A new connection."""
        return psycopg.connect(self.url)


@asset(
    deps=[AssetKey(["crm", "table", "crm", "customers"])],
    automation_condition=AutomationCondition.eager(),
    group_name="marts",
    kinds={"postgres"},
)
def customers_by_tier(target: Warehouse) -> MaterializeResult:
    """How many customers each tier has. Runs again whenever an import changed the table."""
    with target.connect() as connection:
        connection.execute("DROP TABLE IF EXISTS crm.customers_by_tier")
        connection.execute(
            "CREATE TABLE crm.customers_by_tier AS SELECT tier, count(*) AS customers FROM crm.customers GROUP BY tier"
        )
        tiers = connection.execute("SELECT count(*) FROM crm.customers_by_tier").fetchone()
    return MaterializeResult(metadata={"dagster/row_count": tiers[0] if tiers else 0})


marts = define_asset_job("marts", AssetSelection.assets(customers_by_tier))


@definitions
def defs() -> Definitions:
    """The whole location. A module has one such function; to import the module reads no file of the project."""
    imports = ingest_definitions(
        Path(__file__).parent / "crm_imports", key_prefix="crm", group="crm_imports", target_url=WAREHOUSE
    )
    team = Definitions(
        assets=[customers_by_tier],
        jobs=[marts],
        schedules=[ScheduleDefinition(job=marts, cron_schedule="0 6 * * *")],
        sensors=[
            AutomationConditionSensorDefinition(
                "eager_marts", target=[customers_by_tier], default_status=DefaultSensorStatus.RUNNING
            )
        ],
        resources={"target": Warehouse(url=WAREHOUSE)},
        executor=multiprocess_executor,
    )
    return Definitions.merge(imports, team)
