"""A team's own code location: our imports, an asset before one of them, and an asset that hangs on their table."""

from __future__ import annotations

from dagster import (
    AssetKey,
    AssetSelection,
    AutomationCondition,
    AutomationConditionSensorDefinition,
    DefaultSensorStatus,
    Definitions,
    asset,
)

from ingest_pipelines import ingest_definitions

MART, REPORT = AssetKey(["dbt", "mart_scores"]), AssetKey(["team", "report"])


@asset(key=MART)
def mart_scores() -> None:
    """What an import reads; tests materialize it."""


@asset(
    key=REPORT,
    deps=[AssetKey(["table", "crm", "customers"])],
    automation_condition=AutomationCondition.eager(),
)
def report() -> None:
    """What has to run after each change of the table."""


automation = AutomationConditionSensorDefinition(
    "team_automation",
    target=AssetSelection.assets(REPORT),
    default_status=DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=5,
)

defs = Definitions.merge(
    ingest_definitions(executor="in_process"), Definitions(assets=[mart_scores, report], sensors=[automation])
)
