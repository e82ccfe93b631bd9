"""The project as a component of Dagster: `type: ingest_pipelines.IngestProject` in a `defs.yaml`.

    type: ingest_pipelines.IngestProject
    attributes:
      project: .                       # the folder of connections.yaml, databases.yaml and imports/
      key_prefix: crm
      target_url_env: WAREHOUSE_URL

`dg list components` finds it, `dg scaffold defs ingest_pipelines.IngestProject NAME` writes it with a project that
loads, and `dg check defs` fails on every mistake in the project's files. Nothing else in the package imports this
module.
"""

from __future__ import annotations

import re
from inspect import signature
from pathlib import Path
from typing import Any

from dagster import (
    Component,
    ComponentLoadContext,
    ComponentTypeSpec,
    Definitions,
    EnvVar,
    Model,
    Resolvable,
    Scaffolder,
    ScaffoldRequest,
    scaffold_component,
    scaffold_with,
)
from pydantic import Field

from ingest_pipelines.config.placement import key_prefix_of
from ingest_pipelines.config.settings import ExecutorName
from ingest_pipelines.errors import ConfigError
from ingest_pipelines.orchestration.code_location import ingest_definitions

CONNECTIONS = """\
# Where data comes from. One entry per system; secrets are references: password: {env: VENDOR_PASSWORD}
connections:
  uploads:
    type: csv                # a folder of uploads; sftp, s3, gcs and azure deliver files the same way
    directory: uploads       # relative paths start at this folder
"""

DATABASES = """\
# The target: one Postgres table, its key, its typed fields.
databases:
  customers:
    table: crm.customers
    key: customer_id
    fields:
      customer_id: {type: string, max_length: 64}
      email: {type: email, pii: true}
"""

IMPORT = """\
description: Customers that a person uploads
database: customers
source:
  connection: uploads
  file: Customers            # Customers.csv, then Customers_<serial>.csv
columns:                     # source column: field
  CustomerID: customer_id
  Email: email
"""


class IngestProjectScaffolder(Scaffolder[Any]):
    """Writes the component, and a project with one import that loads as it stands."""

    def scaffold(self, request: ScaffoldRequest[Any]) -> None:
        """Writes what is not there; files of a project are left as they are.

        The folder's name is the key prefix, so that a second project has names of its own.
        """
        home = Path(request.target_path)
        home = home.parent if home.suffix else home  # `--append` names the file
        scaffold_component(request, {"project": ".", **_prefix_of(home.name)})
        if (home / "connections.yaml").exists():
            return
        (home / "imports").mkdir(exist_ok=True)
        for name, text in {
            "connections.yaml": CONNECTIONS,
            "databases.yaml": DATABASES,
            "imports/customers.yaml": IMPORT,
            ".gitignore": ".ingest/\n",
        }.items():
            (home / name).write_text(text, encoding="utf-8")


def _prefix_of(folder: str) -> dict[str, str]:
    """The attribute `key_prefix` that the folder's name makes; none if it makes no prefix."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", folder).strip("_").lower()
    try:
        return {"key_prefix": "/".join(key_prefix_of(name))}
    except ConfigError:  # such as a name of digits
        return {}


@scaffold_with(IngestProjectScaffolder)
class IngestProject(Component, Model, Resolvable):
    """A project of Ingest Pipelines: its imports as assets, with their checks, sensors and schedules."""

    project: str = Field(
        default=".",
        description="The folder with connections.yaml, databases.yaml and imports/, from the folder of defs.yaml.",
        examples=[".", "../../crm_imports"],
    )
    key_prefix: str | list[str] | None = Field(
        default=None, description="First parts of every asset key: crm, or crm/eu.", examples=["crm"]
    )
    group: str | None = Field(
        default=None, description="The group of all assets; else that of an import is its database.", examples=["crm"]
    )
    target_url_env: str | None = Field(
        default=None,
        description="The environment variable with the URL of the target Postgres, which runs and ticks read. "
        "Else INGEST_DATABASE_URL, else an embedded server.",
        examples=["WAREHOUSE_URL"],
    )
    spill: str | None = Field(
        default=None,
        description="Where steps on different machines hand their data to each other.",
        examples=["s3://bucket/prefix", "file:///shared/ingest"],
    )
    state: str | None = Field(
        default=None,
        description="The folder for landed files and locks, from the folder of defs.yaml. Else .ingest in the project.",
        examples=["/var/lib/ingest"],
    )
    executor: ExecutorName | None = Field(
        default=None, description="The executor of the whole code location; none unless asked for."
    )

    @classmethod
    def get_spec(cls) -> ComponentTypeSpec:
        """What `dg list components` says of it."""
        facts: dict[str, Any] = {
            "description": "Customer data from files and SQL into a Postgres table, on time, whole and correct.",
            "tags": ["ingestion"],
        }
        if "produces" in signature(ComponentTypeSpec).parameters:  # not before Dagster 1.13
            facts["produces"] = ["asset", "asset_check", "schedule", "sensor", "resource"]
        return ComponentTypeSpec(**facts)

    def build_defs(self, context: ComponentLoadContext) -> Definitions:
        """The project's definitions.

        Raises:
            ConfigError: there is no such folder, or an attribute holds something it cannot.
        """
        here = context.path if context.path.is_dir() else context.path.parent
        return ingest_definitions(
            here / self.project,
            key_prefix=self.key_prefix,
            group=self.group,
            target_url=EnvVar(self.target_url_env) if self.target_url_env is not None else None,
            spill=self.spill,
            state=here / self.state if self.state is not None else None,
            executor=self.executor,
        )
