"""Connections as Dagster resources: of Dagster's own classes, used by our runs, usable by others', free of secrets.

(No `from __future__ import annotations` here: Dagster reads the annotations of assets.)
"""

from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest
import yaml
from dagster import AssetExecutionContext, DagsterInstance, Definitions, asset, materialize
from dagster._config.pythonic_config.resource import get_resource_type_name

from ingest_pipelines.orchestration.assets.partitions import partitions_name
from ingest_pipelines.orchestration.definitions import build_definitions
from ingest_pipelines.orchestration.resources import connections
from ingest_pipelines.orchestration.resources.connections import CLASSES, resource_keys, resources_of
from ingest_pipelines.orchestration.runs.launch import run_import
from ingest_pipelines.orchestration.sensors.file_items import find_file_items
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines_tests.orchestration.conftest import GOOD, Shop
from ingest_pipelines_tests.servers.gcs import Bucket as GcsBucket
from ingest_pipelines_tests.servers.s3 import Bucket as S3Bucket
from ingest_pipelines_tests.servers.snowflake import SnowflakeDatabase

NOWHERE = "http://127.0.0.1:1"
_KINDS = {"drops": "s3", "lake": "gcs", "house": "snowflake"}


def test_connections_are_resources_under_their_names_and_an_import_requires_only_its_own(shop: Shop) -> None:
    _connect(shop, drops=_s3_nowhere(shop), lake={"type": "gcs", "bucket": "lake"}, target=_s3_nowhere(shop))
    defs = shop.definitions()
    keys = set(defs.get_repository_def().get_top_level_resources())
    assert keys == {f"ingest__{name}" for name in ("site", "handles", "target", "drops", "lake", "target_connection")}
    shop.write_import(source={"connection": "target", "file": "points/Points"})
    assert resource_keys(shop.bound()) == {"ingest__target_connection"}
    graph = shop.definitions().resolve_implicit_global_asset_job_def()
    names = ("site", "handles", "target", "target_connection")
    required = set(graph.get_required_resource_defs()) - {"io_manager"}
    assert required == {f"ingest__{name}" for name in names}


def test_an_s3_run_uses_the_client_of_the_resource(
    shop: Shop, instance: DagsterInstance, s3_bucket: S3Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagster_aws.s3 import S3Resource

    server = s3_bucket.server
    theirs = S3Resource(
        endpoint_url=server.endpoint_url, region_name="us-east-1", aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
    )  # fmt: skip
    _connect(shop, drops={**_s3_nowhere(shop), "bucket": s3_bucket.name})
    s3_bucket.put("points/Points.csv", GOOD.encode())
    _load_with(shop, instance, theirs, monkeypatch)


def test_a_gcs_run_uses_the_client_of_the_resource(
    shop: Shop, instance: DagsterInstance, gcs_bucket: GcsBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagster_gcp.gcs import GCSResource

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_bucket.server.endpoint_url)
    theirs = GCSResource(project=gcs_bucket.server.project)
    _connect(shop, drops={"type": "gcs", "bucket": gcs_bucket.name, "endpoint_url": NOWHERE, "retries": 0})
    gcs_bucket.put("points/Points.csv", GOOD.encode())
    _load_with(shop, instance, theirs, monkeypatch)


@pytest.mark.slow  # dagster-snowflake takes four seconds to import
def test_a_snowflake_run_uses_the_connection_of_the_resource(
    shop: Shop, instance: DagsterInstance, snowflake_database: SnowflakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagster_snowflake import SnowflakeResource

    server = snowflake_database.server
    snowflake_database.execute(
        "CREATE TABLE visits (id INT, who VARCHAR, n INT)",
        "INSERT INTO visits VALUES (1, 'C1', 4), (2, 'C2', 5), (3, 'C3', 6)",
    )
    house = {
        "type": "snowflake", "account": server.account, "user": server.user, "database": snowflake_database.name,
        "schema": "PUBLIC", "password": _secret(shop, server.password), "options": server.options,
    }  # fmt: skip
    _connect(shop, house=house)
    shop.write_import(
        source={
            "connection": "house",
            "query": "SELECT id, who, n FROM visits WHERE id > {lastItem} ORDER BY id LIMIT 2",
            "cursor": {"column": "id", "start": 0},
        },
        columns={"who": "customer_id", "n": {"field": "visits", "type": "int"}},
    )
    opened: list[SnowflakeResource] = []
    connect = SnowflakeResource.get_connection

    def counted(self: SnowflakeResource, raw_conn: bool = True) -> Any:
        opened.append(self)
        return connect(self, raw_conn)

    monkeypatch.setattr(SnowflakeResource, "get_connection", counted)
    outcome = run_import(shop.site(), instance, "points")
    assert outcome.error is None
    assert shop.rows("SELECT customer_id, visits FROM crm.customers ORDER BY 1") == [("C1", 4), ("C2", 5), ("C3", 6)]
    assert len(opened) == 3  # the first chunk, the second, and the empty one


def test_an_asset_of_a_users_own_takes_a_connection_by_its_name(shop: Shop, s3_bucket: S3Bucket) -> None:
    from dagster_aws.s3 import S3Resource

    server = s3_bucket.server
    s3_bucket.put("a.csv", b"12345")
    _connect(
        shop,
        drops={
            **_s3_nowhere(shop), "bucket": s3_bucket.name, "endpoint_url": server.endpoint_url,
            "access_key_id": _secret(shop, server.access_key_id),
            "secret_access_key": _secret(shop, server.secret_access_key),
        },
    )  # fmt: skip
    sizes: list[int] = []

    @asset
    def report(ingest__drops: S3Resource) -> None:
        assert isinstance(ingest__drops, S3Resource)
        sizes.append(ingest__drops.get_client().head_object(Bucket=s3_bucket.name, Key="a.csv")["ContentLength"])

    assert materialize([report], resources=dict(resources_of(shop.site().project))).success
    assert sizes == [5]


@pytest.mark.slow  # dagster-snowflake takes four seconds to import
def test_a_resource_is_of_the_class_that_its_page_names_and_holds_what_the_connection_says(shop: Shop) -> None:
    from dagster_aws.s3 import S3Resource
    from dagster_gcp.gcs import GCSResource
    from dagster_snowflake import SnowflakeResource

    lake = {"type": "gcs", "bucket": "lake", "project": "p", "endpoint_url": NOWHERE}
    _connect(shop, drops=_s3_nowhere(shop), lake=lake, house=_snowflake_nowhere(shop))
    seen: dict[str, Any] = {}

    @asset(required_resource_keys={f"ingest__{name}" for name in _KINDS})
    def use_clients(context: AssetExecutionContext) -> None:
        seen.update({name: getattr(context.resources, f"ingest__{name}") for name in _KINDS})

    definitions = resources_of(shop.site().project)
    assert materialize([use_clients], resources=dict(definitions)).success
    assert isinstance(seen["drops"], S3Resource)
    assert isinstance(seen["lake"], GCSResource)
    assert isinstance(seen["house"].snowflake_connection_resource, SnowflakeResource)
    assert all(CLASSES[kind] in str(definitions[f"ingest__{name}"].description) for name, kind in _KINDS.items())
    with closing(seen["drops"].get_client()) as client:
        assert client.meta.endpoint_url == NOWHERE
        assert client.meta.config.connect_timeout == 7
        assert client.meta.config.s3["addressing_style"] == "path"


def test_the_page_of_resources_reads_as_words(shop: Shop) -> None:
    _connect(shop, drops=_s3_nowhere(shop), house=_snowflake_nowhere(shop))
    found = shop.definitions().get_repository_def().get_top_level_resources()
    types = {name: get_resource_type_name(definition).rpartition(".")[2] for name, definition in found.items()}
    assert types == {
        "ingest__drops": "S3Resource", "ingest__house": "SnowflakeResource", "ingest__site": "Site",
        "ingest__handles": "HandleIOManager", "ingest__target": "TargetIOManager",
    }  # fmt: skip
    for definition in found.values():  # shown as plain text, in one line
        assert definition.description
        assert not {"\n", "|", "`"} & set(definition.description)


def test_no_page_of_a_resource_shows_a_secret(shop: Shop) -> None:
    _connect(shop, drops=_s3_nowhere(shop), house={**_snowflake_nowhere(shop), "options": {"token": "t0ken-secret"}})
    definitions = resources_of(shop.site().project)
    shown = "\n".join(str(each.description) for each in definitions.values())
    assert "endpoint_url" in shown
    assert "dagster_snowflake.SnowflakeResource" in shown
    assert "s3cret" not in shown
    assert "t0ken" not in shown
    assert all(not each.config_schema.default_provided for each in definitions.values())


def _load_with(shop: Shop, instance: DagsterInstance, resource: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The import is loaded although its own connection leads nowhere: by the client of the resource alone."""
    monkeypatch.setitem(_mutable(connections._MAKE), shop.site().project.connections["drops"].type, lambda _: resource)
    shop.write_import(source={"connection": "drops", "file": "points/Points"})
    site = shop.site()
    bound = site.project.require("points")
    [item] = find_file_items(site, bound, Listings(), client=resource.get_client).items  # type: ignore[attr-defined]  # either class
    instance.add_dynamic_partitions(partitions_name(bound), [str(item.key)])
    defs: Definitions = build_definitions(site)
    assert shop.run(instance, item, defs=defs).success
    assert shop.rows("SELECT customer_id, points FROM crm.customers ORDER BY 1") == [("C1", 10), ("C2", 20)]


def _mutable(mapping: Mapping[str, Any]) -> dict[str, Any]:
    assert isinstance(mapping, dict)
    return mapping


def _connect(shop: Shop, **connections: dict[str, Any]) -> None:
    path = shop.home / "connections.yaml"
    known = yaml.safe_load(path.read_text())["connections"]
    path.write_text(yaml.safe_dump({"connections": {**known, **connections}}))


def _secret(shop: Shop, value: str) -> dict[str, str]:
    path = shop.home / f"secret{len(list(shop.home.glob('secret*')))}"
    path.write_text(value)
    return {"file": str(path)}


def _s3_nowhere(shop: Shop) -> dict[str, Any]:
    return {
        "type": "s3", "bucket": "drops", "region": "us-east-1", "endpoint_url": NOWHERE, "path_style": True,
        "retries": 0, "timeout_seconds": 7, "access_key_id": _secret(shop, "s3cret-id"),
        "secret_access_key": _secret(shop, "s3cret-key"),
    }  # fmt: skip


def _snowflake_nowhere(shop: Shop) -> dict[str, Any]:
    return {"type": "snowflake", "account": "acme", "user": "etl", "password": _secret(shop, "s3cret-password")}
