"""Connections as Dagster resources, as `ingest__<connection>`: for our runs and for users' own assets.

    s3          dagster_aws.s3.S3Resource               get_client()
    gcs         dagster_gcp.gcs.GCSResource             get_client()
    snowflake   dagster_snowflake.SnowflakeResource     get_connection()

Steps, sensors and schedules of an import take their client from its connection's resource; an asset in the same code
location asks for it by name: `def report(ingest__vendor: S3Resource)`. Two of Dagster's classes lack settings of a
connection: S3Resource has no time-outs, path style or older checksums, GCSResource has only the project. Our subclasses
override `get_client`, which makes the same client as the command line.

Dagster's libraries take up to four seconds to import, so they are imported when a resource is initialised, and not
when the definitions are loaded. A resource has no configuration in Dagster: its settings are in connections.yaml, and
secrets are read last, where Dagster neither shows nor stores them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from dagster import InitResourceContext, ResourceDefinition

from ingest_pipelines.config import BoundImport, Project
from ingest_pipelines.config.base import Secret
from ingest_pipelines.config.connections import Connection
from ingest_pipelines.config.connections.gcs import GcsConnection
from ingest_pipelines.config.connections.s3 import S3Connection
from ingest_pipelines.config.connections.snowflake import SnowflakeConnection
from ingest_pipelines.config.placement import Placement
from ingest_pipelines.orchestration.assets.markdown import code
from ingest_pipelines.sources.base import Client

SITE, HANDLES, TARGET = "site", "handles", "target"
"""Names of our own resources, within the project's namespace; those of connections with such a name end with
`_connection`."""

_PLAIN = re.compile(r"[\w ./:@,=+-]*")
"""Text without Markdown: Dagster's list shows a description as text, and its page shows it as Markdown."""

CLASSES = {
    "s3": "dagster_aws.s3.S3Resource",
    "gcs": "dagster_gcp.gcs.GCSResource",
    "snowflake": "dagster_snowflake.SnowflakeResource",
}
"""Connection types that are resources, and the resource's class."""


def resources_of(project: Project) -> dict[str, ResourceDefinition]:
    """The project's connections that are resources, by resource key."""
    return {
        _key(project.placement, name): _definition(connection)
        for name, connection in project.connections.items()
        if connection.type in CLASSES
    }


def resource_keys(bound: BoundImport) -> frozenset[str]:
    """The key of the resource that the import reads from, if its connection is one."""
    return frozenset({_key(bound.placement, bound.connection_name)} if bound.connection.type in CLASSES else ())


def client_of(resources: Any, bound: BoundImport) -> Client | None:
    """Makes the import's client, from a context's resources; None if the source connects by itself."""
    for key in resource_keys(bound):
        return _client(getattr(resources, key), bound.connection.type)
    return None


def _client(resource: Any, kind: str) -> Client:
    if kind == "snowflake":
        connect: Client = resource.get_connection
        return connect
    # a user may put Dagster's own S3Resource or GCSResource in place of ours; then the resource is the client
    make: Client = getattr(resource, "get_client", lambda: resource)
    return make


def _key(placement: Placement, name: str) -> str:
    return placement.named(f"{name}_connection" if name in {SITE, HANDLES, TARGET} else name)


def _definition(connection: Connection) -> ResourceDefinition:
    make = _MAKE[connection.type]
    return named_resource(CLASSES[connection.type], lambda _: make(connection), _description(connection))


def named_resource(
    type_name: str, make: Callable[[InitResourceContext], object], description: str
) -> ResourceDefinition:
    """A resource that Dagster's page shows under its type's name: the page shows the name of the function.

    Args:
        type_name: the class that `make` returns, as `module.Class`.
        description: one line of plain text, as the page shows it.
    """
    return ResourceDefinition(named(type_name.rpartition(".")[2], make), description=description)


def named(name: str, make: Callable[[InitResourceContext], Any]) -> Callable[[InitResourceContext], Any]:
    """`make` as a function with that name."""

    def resource(context: InitResourceContext) -> Any:
        return make(context)

    resource.__name__ = name
    return resource


def _description(connection: Connection) -> str:
    """The connection's settings, with secrets as references. Free `options` are left out."""
    settings: list[str] = []
    for name, slot in type(connection).model_fields.items():
        value = getattr(connection, name)
        if isinstance(value, Secret):
            value = f"env: {value.env}" if value.env else f"file: {value.file}"
        if name not in {"type", "options"} and value is not None:
            text = str(value)
            settings.append(f"{slot.alias or name} {text if _PLAIN.fullmatch(text) else code(text)}")
    return f"{CLASSES[connection.type]}, as connections.yaml says: {', '.join(settings)}"


def _s3(connection: S3Connection) -> object:
    from dagster_aws.s3 import S3Resource

    from ingest_pipelines.sources.s3 import make_client

    class ConnectionS3Resource(S3Resource):
        """S3Resource with all settings of the connection."""

        def get_object_to_set_on_execution_context(self) -> Any:
            """The resource itself, so that a step without need of a client makes none."""
            return self

        def get_client(self) -> Any:
            """A boto3 client for the connection."""
            return make_client(connection)

    return ConnectionS3Resource(
        region_name=connection.region, endpoint_url=connection.endpoint_url, max_attempts=connection.retries + 1
    )


def _gcs(connection: GcsConnection) -> object:
    from dagster_gcp.gcs import GCSResource

    from ingest_pipelines.sources.gcs import make_client

    class ConnectionGCSResource(GCSResource):
        """GCSResource with all settings of the connection."""

        def get_object_to_set_on_execution_context(self) -> Any:
            """The resource itself, so that a step without need of a client makes none."""
            return self

        def get_client(self) -> Any:
            """A storage client for the connection."""
            return make_client(connection)

    return ConnectionGCSResource(project=connection.project)


def _snowflake(connection: SnowflakeConnection) -> object:
    from dagster_snowflake import SnowflakeResource

    from ingest_pipelines.sources.snowflake import connect_arguments

    arguments = connect_arguments(connection)
    arguments.pop("private_key", None)  # we opened it to check it; Dagster's class opens it again
    own = ("account", "user", "password", "role", "warehouse", "database", "schema", "login_timeout", "paramstyle")
    key, phrase = connection.private_key, connection.passphrase
    return SnowflakeResource(
        **{name: arguments.pop(name) for name in own if name in arguments},
        private_key=key.reveal() if key else None,
        private_key_password=phrase.reveal() if phrase else None,
        additional_snowflake_connection_args=arguments,
    )


_MAKE: Mapping[str, Callable[[Any], object]] = {"s3": _s3, "gcs": _gcs, "snowflake": _snowflake}
