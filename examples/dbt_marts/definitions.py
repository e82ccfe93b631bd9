"""One code location: an import that fills a table, and the dbt models that hang on it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dagster import AssetExecutionContext, AutomationCondition, Definitions, EnvVar, definitions
from dagster_dbt import DagsterDbtTranslator, DbtCliResource, DbtProject, dbt_assets

from ingest_pipelines import ingest_definitions

HERE = Path(__file__).parent
project = DbtProject(HERE, profiles_dir=HERE)
project.prepare_if_dev()


class EagerModels(DagsterDbtTranslator):
    """Models run whenever what they read has changed."""

    def get_automation_condition(self, dbt_resource_props: Mapping[str, Any]) -> AutomationCondition:
        """Of every model."""
        return AutomationCondition.eager()


@dbt_assets(manifest=project.manifest_path, dagster_dbt_translator=EagerModels())
def marts(context: AssetExecutionContext, dbt: DbtCliResource):
    """The models, each an asset; the tests of models and sources are asset checks."""
    yield from dbt.cli(["build"], context=context).stream()


@definitions
def defs() -> Definitions:
    """The import and the models."""
    return Definitions.merge(
        ingest_definitions(HERE / "crm", target_url=EnvVar("WAREHOUSE_URL")),
        Definitions(assets=[marts], resources={"dbt": DbtCliResource(project)}),
    )
