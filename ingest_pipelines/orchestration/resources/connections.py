"""Connections as Dagster resources, each under its connection's name: for our runs, and for users' own assets.

    s3          dagster_aws.s3.S3Resource               get_client()
    gcs         dagster_gcp.gcs.GCSResource             get_client()
    snowflake   dagster_snowflake.SnowflakeResource     get_connection()

Steps, sensors and schedules of an import take their client from the resource of its connection; an asset in the same
location asks for it by name: `def report(vendor: S3Resource)`. Two of Dagster's classes have no slots for all that a
connection says: S3Resource none for time-outs, path style and older servers' checksums, GCSResource only one for the
project. Theirs is `get_client`, which makes the same client as the command line does.

Dagster's libraries take up to four seconds to import, so they are imported when a resource is initialised, and not
when the definitions are loaded. A resource has no configuration: connections.yaml is it, and the secrets that it
refers to are read last, where Dagster shows and stores nothing.
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
from ingest_pipelines.orchestration.assets.markdown import code
from ingest_pipelines.sources.base import Client

OURS = frozenset({"site", "handles", "target", "io_manager"})
"""Keys that are taken; a connection of such a name gets `_connection` behind it."""

_PLAIN = re.compile(r"[\w ./:@,=+-]*")
"""What reads the same as text and as Markdown: Dagster's list shows a description as the one, its page as the other."""

CLASSES = {
    "s3": "dagster_aws.s3.S3Resource",
    "gcs": "dagster_gcp.gcs.GCSResource",
    "snowflake": "dagster_snowflake.SnowflakeResource",
}
"""Types of connections that are resources, and of which class."""


def resources_of(project: Project) -> dict[str, ResourceDefinition]:
    """The project's connections that are resources, by key."""
    return {
        _key(name): _definition(connection)
        for name, connection in project.connections.items()
        if connection.type in CLASSES
    }


def resource_keys(bound: BoundImport) -> frozenset[str]:
    """The key of the resource that the import reads from, if its connection is one."""
    return frozenset({_key(bound.connection_name)} if bound.connection.type in CLASSES else ())


def client_of(resources: Any, bound: BoundImport) -> Client | None:
    """What makes the import's client, from a context's resources; None where the source connects by itself."""
    for key in resource_keys(bound):
        return _client(getattr(resources, key), bound.connection.type)
    return None


def _client(resource: Any, kind: str) -> Client:
    if kind == "snowflake":
        connect: Client = resource.get_connection
        return connect
    # Dagster's own S3Resource and GCSResource, which a user may put in place of ours, come as their client
    make: Client = getattr(resource, "get_client", lambda: resource)
    return make


def _key(name: str) -> str:
    return f"{name}_connection" if name in OURS else name


def _definition(connection: Connection) -> ResourceDefinition:
    make = _MAKE[connection.type]
    return named_resource(CLASSES[connection.type], lambda _: make(connection), _description(connection))


def named_resource(
    type_name: str, make: Callable[[InitResourceContext], object], description: str
) -> ResourceDefinition:
    """A resource that Dagster's page shows under the name of its type: it shows the name of the function.

    Args:
        type_name: the class of what `make` returns, as `module.Class`.
        description: one line of plain text, as the page shows it.
    """
    return ResourceDefinition(named(type_name.rpartition(".")[2], make), description=description)


def named(name: str, make: Callable[[InitResourceContext], Any]) -> Callable[[InitResourceContext], Any]:
    """`make` as a function of that name."""

    def resource(context: InitResourceContext) -> Any:
        return make(context)

    resource.__name__ = name
    return resource


def _description(connection: Connection) -> str:
    """What the connection says, secrets as the references that they are. Free `options` stay in the YAML."""
    said: list[str] = []
    for name, slot in type(connection).model_fields.items():
        value = getattr(connection, name)
        if isinstance(value, Secret):
            value = f"env: {value.env}" if value.env else f"file: {value.file}"
        if name not in {"type", "options"} and value is not None:
            text = str(value)
            said.append(f"{slot.alias or name} {text if _PLAIN.fullmatch(text) else code(text)}")
    return f"{CLASSES[connection.type]}, as connections.yaml says: {', '.join(said)}"


def _s3(connection: S3Connection) -> object:
    from dagster_aws.s3 import S3Resource

    from ingest_pipelines.sources.s3 import make_client

    class ConnectionS3Resource(S3Resource):
        """S3Resource with everything that the connection says."""

        def get_object_to_set_on_execution_context(self) -> Any:
            """Itself: steps that need no client make none."""
            return self

        def get_client(self) -> Any:
            """A boto3 client of the connection."""
            return make_client(connection)

    return ConnectionS3Resource(
        region_name=connection.region, endpoint_url=connection.endpoint_url, max_attempts=connection.retries + 1
    )


def _gcs(connection: GcsConnection) -> object:
    from dagster_gcp.gcs import GCSResource

    from ingest_pipelines.sources.gcs import make_client

    class ConnectionGCSResource(GCSResource):
        """GCSResource with everything that the connection says."""

        def get_object_to_set_on_execution_context(self) -> Any:
            """Itself: steps that need no client make none."""
            return self

        def get_client(self) -> Any:
            """A storage client of the connection."""
            return make_client(connection)

    return ConnectionGCSResource(project=connection.project)


def _snowflake(connection: SnowflakeConnection) -> object:
    from dagster_snowflake import SnowflakeResource

    from ingest_pipelines.sources.snowflake import connect_arguments

    arguments = connect_arguments(connection)
    arguments.pop("private_key", None)  # opened by us to tell what is wrong with it; Dagster's class opens it anew
    own = ("account", "user", "password", "role", "warehouse", "database", "schema", "login_timeout", "paramstyle")
    key, phrase = connection.private_key, connection.passphrase
    return SnowflakeResource(
        **{name: arguments.pop(name) for name in own if name in arguments},
        private_key=key.reveal() if key else None,
        private_key_password=phrase.reveal() if phrase else None,
        additional_snowflake_connection_args=arguments,
    )


_MAKE: Mapping[str, Callable[[Any], object]] = {"s3": _s3, "gcs": _gcs, "snowflake": _snowflake}
