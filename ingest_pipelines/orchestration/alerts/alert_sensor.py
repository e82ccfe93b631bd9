"""The sensor that sends alerts. `ingest watch` sends them too, also while this sensor does not tick."""

from __future__ import annotations

from dagster import DefaultSensorStatus, SensorDefinition, SensorEvaluationContext, SkipReason, sensor

from ingest_pipelines.orchestration.alerts.recipients import PROJECT, Routes
from ingest_pipelines.orchestration.alerts.send_alerts import send_alerts
from ingest_pipelines.orchestration.automation import ALERTS
from ingest_pipelines.orchestration.dagster_internals.expected_errors import without_stack
from ingest_pipelines.orchestration.site import Site


def alert_sensor(site: Site) -> SensorDefinition | None:
    """The sensor; None if no alert has a recipient."""
    if not Routes(site.project, {}).of(PROJECT):
        return None

    @sensor(
        name=site.project.placement.named(ALERTS),
        description="Sends alerts: an import failed, is late or stuck, has unusual volume or rejects, a source is out "
        "of reach, YAML broke, or it works again.",
        minimum_interval_seconds=30,
        default_status=DefaultSensorStatus.RUNNING if site.settings.automation else DefaultSensorStatus.STOPPED,
    )
    @without_stack
    def alerts(context: SensorEvaluationContext) -> SkipReason:
        outcome = send_alerts(site, context.instance, site.clock())
        if outcome.unsent:
            context.log.error("%s", outcome.words)
        return SkipReason(outcome.words)

    return alerts
