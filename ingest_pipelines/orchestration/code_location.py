"""The public door: a project as definitions that merge with a team's own, or with another project's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dagster import Definitions, EnvVar

from ingest_pipelines.config.current_project import read_current_project
from ingest_pipelines.config.settings import ExecutorName, read_location_settings
from ingest_pipelines.orchestration.definitions import build_definitions, definitions_of_process
from ingest_pipelines.orchestration.neighbours import report_clashes
from ingest_pipelines.orchestration.site import Site


def ingest_definitions(
    project: str | Path | None = None,
    *,
    key_prefix: str | Sequence[str] | None = None,
    group: str | None = None,
    target_url: str | EnvVar | None = None,
    spill: str | None = None,
    state: str | Path | None = None,
    executor: ExecutorName | None = None,
    alone: bool = False,
) -> Definitions:
    """The project's imports as Dagster definitions, which merge with those of any other code location.

        from dagster import Definitions, EnvVar, definitions
        from ingest_pipelines import ingest_definitions

        @definitions
        def defs() -> Definitions:
            return Definitions.merge(
                ingest_definitions("crm_imports", key_prefix="crm", target_url=EnvVar("WAREHOUSE_URL")),
                Definitions(assets=[...], resources={...}, executor=...),
            )

    They have no executor, unless one is asked for: the jobs of the team run as before, and the imports as they do.
    The keys of their resources begin with `ingest__`, and so do the names of their ops and of the project's own
    sensors; with a key prefix `crm`, with `crm__ingest__`. So two projects with different prefixes share a code
    location. An import whose YAML has mistakes is a placeholder that shows them; the others work.

    The project's files and the variables that begin with INGEST_ are read by this call, and nothing is written. No
    server is asked, no connection opened and no secret read before a tick or a run. In a function with
    `@dagster.definitions` the call is made when Dagster loads the definitions, so to import the module reads nothing.

    Args:
        project: the folder with connections.yaml, databases.yaml and imports/. Default: INGEST_HOME.
        key_prefix: first parts of every asset key: `crm`, `crm/eu` or a list. An import is `[*prefix, database,
            import]`, its table `[*prefix, "table", schema, table]`. Default: INGEST_KEY_PREFIX, else none.
        group: the group of all assets. Default: that of an import is its database.
        target_url: the URL of the target Postgres. Give it as `EnvVar`: that is read by runs and ticks, and no earlier.
            Default: INGEST_DATABASE_URL, else the embedded server.
        spill: a folder (`file:///shared/ingest`) or a bucket (`s3://bucket/prefix`, `gs://bucket/prefix`) for what a
            step leaves to the next one: needed where the steps or retries of a run execute on different machines.
            Default: INGEST_SPILL_URI, else the state folder.
        state: the folder for landed files, locks and the embedded server. Default: the folder of the key prefix in
            INGEST_STATE, else `.ingest` in the project.
        executor: how the runs of the code location execute their steps: `in_process`, which is the fastest for
            imports, `multiprocess`, `k8s` or `celery`. Dagster merges definitions that have the same executor only.
        alone: nothing else is in the code location. Of fifty or more imports, a run's process then asks the instance
            which one is its own, and defines that one only. Beside a team's definitions a run needs all imports: a
            sensor of the team may select any of them.

    Raises:
        ConfigError: there is no such folder, or an argument or an environment variable holds something it cannot.
            Where Dagster validates the definitions: also the mistakes in the project's files, and another project of
            the process with the same key prefix, or with the same target and name of an import.
        MissingDriver: the package of the executor is not installed.
    """
    settings = read_location_settings(
        Path(project) if project is not None else None,
        key_prefix=key_prefix,
        group=group,
        state=Path(state) if state is not None else None,
        spill=spill,
        database_url=None if isinstance(target_url, EnvVar) else target_url,
        database_variable=target_url.env_var_name if isinstance(target_url, EnvVar) else None,
        executor=executor,
    )
    site = Site(settings, read_current_project(settings.home))
    report_clashes(site, stacklevel=3)
    return definitions_of_process(site) if alone else build_definitions(site)
