"""Whether an import runs by itself: what its sensor and its schedule have in common; and the project's own sensors."""

from __future__ import annotations

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport, Project
from ingest_pipelines.ledger.imports import ImportStatus
from ingest_pipelines.orchestration.site import Site

HOUSEKEEPING, ACTIVATION, ALERTS = "housekeeping", "activation", "alerts"
"""Names of the sensors of the whole project, within its namespace."""

CHECK_NOW_SENSOR = "check_now_runs"
"""Name of the sensor of the job `check_now`, within the project's namespace."""

WHEN_STOPPED = (
    "Off while the import is a draft, and its ticks skip while it is paused;"
    " start it with ingest activate or ingest resume."
)
"""Part of the description of every sensor and schedule."""


def watches_files(bound: BoundImport) -> bool:
    """Whether the import has a sensor: it reads files from a source, and not only on a schedule."""
    wanted = bound.spec.sensor is None or bound.spec.sensor.enabled
    return bound.reads_files and not bound.one_time and wanted


MOST_FILE_SENSORS = 100
"""Of more imports that watch for files, those of a connection share one sensor. Dagster needs a tenth of a second for a
tick, whatever it does."""


def shares_file_sensors(project: Project) -> bool:
    """Whether the project's imports share one file sensor per connection."""
    return sum(map(watches_files, project.imports.values())) > MOST_FILE_SENSORS


def own_file_sensor(bound: BoundImport) -> str:
    """The name of the import's own file sensor."""
    return f"{bound.asset_name}__files"


def shared_file_sensor(bound: BoundImport) -> str:
    """The name of the file sensor that the imports of its connection share."""
    return bound.placement.named(f"files_of_{bound.connection_name}")


def may_look_first(bound: BoundImport) -> bool:
    """Whether a look at the import's source tells that it has no row after the cursor.

    With a lag it cannot tell: each drain reads rows again, and some of them may be new.
    """
    cursor = bound.spec.source.cursor
    return cursor is not None and not cursor.lag


def looks_before_it_reads(bound: BoundImport) -> bool:
    """Whether a tick of the import's schedule begins a drain only where its source has rows after the cursor."""
    return bound.spec.schedule is not None and may_look_first(bound)


def starts_running(site: Site, bound: BoundImport) -> bool:
    """Whether the import's sensor and schedule are on by default; a person can switch each one in the UI.

    Those of a draft are off until `sensors.activation` switches them on. Those of a paused import tick, and skip.
    """
    return site.settings.automation and bound.spec.status != "draft"


def status_of(state: ledger.ImportState | None, in_yaml: ImportStatus) -> ImportStatus:
    """The import's status: the ledger's, which `ingest activate`, `pause` and `resume` set, else its YAML's."""
    return state.status if state is not None and state.status is not None else in_yaml


def why_stopped(site: Site, bound: BoundImport) -> str:
    """Why the import does not run by itself: it is a draft, or paused. "" where it is active."""
    with site.target.session() as connection:
        state = ledger.find_import(connection, bound.name)
    return why_stopped_by(site, bound, state)


def why_stopped_by(site: Site, bound: BoundImport, state: ledger.ImportState | None) -> str:
    """`why_stopped`, of an import whose state in the ledger is known."""
    return why_stopped_as(site, bound, status_of(state, bound.spec.status))


def why_stopped_as(site: Site, bound: BoundImport, status: ImportStatus) -> str:
    """`why_stopped`, of an import whose status is known."""
    if status == "draft":
        return f"a draft runs only by hand; run: ingest activate {bound.name}"
    if status == "paused":
        return f"paused; run: ingest resume {bound.name}"
    if bound.spec.status == "draft" and not site.settings.automation:
        # Dagster remembers the switch that an activation turned, and knows nothing of this setting.
        return (
            f"INGEST_AUTOMATION is off; run: ingest run {bound.name}. To let it run by itself:"
            f" INGEST_AUTOMATION=on, or no `status: draft` in imports/{bound.name}.yaml"
        )
    return ""
