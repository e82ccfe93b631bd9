"""The activation sensor: it turns the switches of a draft's sensor and schedule after `ingest activate`.

The command may run on a machine that reaches the target and not Dagster's storage, so it writes to the ledger alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dagster import DefaultSensorStatus, SensorDefinition, SensorEvaluationContext, SkipReason, sensor

from ingest_pipelines import ledger
from ingest_pipelines.orchestration.automation import ACTIVATION
from ingest_pipelines.orchestration.dagster_internals.expected_errors import without_stack
from ingest_pipelines.orchestration.dagster_internals.switches import switch_on
from ingest_pipelines.orchestration.site import Site

SECONDS = 10
"""Between two ticks. A tick is one query of the ledger, and one of Dagster's storage where a draft is active."""


def activation_sensor(site: Site, drafts: Mapping[str, Sequence[str]]) -> SensorDefinition | None:
    """The sensor; None where no draft has a switch, or where nothing is to run by itself.

    Args:
        drafts: per import whose YAML says `status: draft` the names of its sensor and its schedule.
    """
    if not drafts or not site.settings.automation:
        return None

    @sensor(
        name=site.project.placement.named(ACTIVATION),
        description="Switches on the sensor and the schedule of a draft that is activated, if no person switched them.",
        minimum_interval_seconds=SECONDS,
        default_status=DefaultSensorStatus.RUNNING,
    )
    @without_stack
    def activation(context: SensorEvaluationContext) -> SkipReason:
        with site.target.session() as connection:
            active = ledger.active_imports(connection, list(drafts))
        switched = switch_on(context, [name for draft in sorted(active) for name in drafts[draft]]) if active else []
        return SkipReason(f"switched on: {', '.join(switched)}" if switched else "nothing to switch on")

    return activation
