"""From the vendor's folder to the table, for every kind of store: what arrives, is replaced, fails, and is mended."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from dagster import AssetKey, DagsterInstance, Definitions, SensorResult, build_sensor_context

from ingest_pipelines.orchestration.assets.partitions import partitions_name
from ingest_pipelines.orchestration.runs.launch import run_import
from ingest_pipelines.sources import open_files
from ingest_pipelines_tests.orchestration.conftest import GOOD, HEADER, ONE_BAD, Shop
from ingest_pipelines_tests.servers.azure import Container
from ingest_pipelines_tests.servers.gcs import Bucket as GcsBucket
from ingest_pipelines_tests.servers.s3 import Bucket as S3Bucket
from ingest_pipelines_tests.servers.sftp import SftpServer

MENDED = f"{HEADER}\nC1,Gold,11,2024-05-01\nC2,Silver,22,2024-06-01\n"
MINUTE = timedelta(minutes=1)

Put = Callable[[str, str], None]


class Store:
    """A vendor's store, as a connection and a way to put a file there; and what Dagster makes of it."""

    def __init__(self, shop: Shop, connection: dict[str, Any], put: Put) -> None:
        self.shop, self._put = shop, put
        path = shop.home / "connections.yaml"
        path.write_text(yaml.safe_dump({"connections": {"vendor": connection}}))
        settle = {"settle": "1s"} if connection["type"] in {"csv", "sftp"} else {}
        source = {"connection": "vendor", "file": "points/Points", **settle}
        shop.write_import(source=source, receipt={"folder": "outbox"})
        self.uploads = connection["type"] == "csv"
        self.defs: Definitions = shop.definitions()

    def put(self, name: str, text: str) -> None:
        """The file is there, a minute after whatever came before."""
        self.shop.now += MINUTE
        self._put(f"points/{name}", text)
        self.shop.now += MINUTE

    def arrive(self, instance: DagsterInstance) -> str | None:
        """The sensor ticks, and what it asks for is run; the run's partition, None where the tick was skipped."""
        site = self.shop.site()
        bound = site.project.require("points")
        if self.uploads:  # nobody watches a folder of uploads: a person says that there is one
            return str(run_import(site, instance, "points").item.key)
        repository = self.defs.get_repository_def()
        sensor = repository.get_sensor_def("customers__points__files")
        required = {key: repository.get_top_level_resources()[key] for key in sensor.required_resource_keys}
        with build_sensor_context(
            instance=instance, repository_def=repository, sensor_name=sensor.name, resources=required
        ) as context:
            [tick] = sensor._evaluation_fn(context)  # its public callers want an instance on disk, five times slower
        assert isinstance(tick, SensorResult)
        for request in tick.dynamic_partitions_requests or ():
            instance.add_dynamic_partitions(partitions_name(bound), list(request.partition_keys))
        keys = [(str(request.partition_key), request.tags) for request in tick.run_requests or ()]
        for key, tags in keys:
            self.run(instance, key, **tags)
        return keys[-1][0] if keys else None

    def run(self, instance: DagsterInstance, key: str, **tags: str) -> bool:
        """A run of one partition, as the UI starts it; whether it ended well."""
        job = self.defs.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(
            asset_selection=[AssetKey(["customers", "points"])], partition_key=key, instance=instance,
            raise_on_error=False, tags=tags,
        )  # fmt: skip
        return result.success

    def answers(self) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """The receipts that the vendor finds, and the files of rejected rows by name."""
        with open_files(self.shop.site().project.require("points").connection) as source:
            texts = {
                file.path.removeprefix("outbox/"): b"".join(source.read(file.path)).decode()
                for file in source.listing("outbox").files
            }
        receipts = [json.loads(text) for name, text in texts.items() if name.endswith(".receipt.json")]
        return receipts, {name: text for name, text in texts.items() if name.endswith(".rejects.csv")}

    def loads(self) -> list[tuple[Any, ...]]:
        return self.shop.rows("SELECT status, error FROM ingest.loads ORDER BY id")

    def points(self) -> list[tuple[Any, ...]]:
        return self.shop.rows("SELECT customer_id, points FROM crm.customers ORDER BY 1")


@pytest.fixture(
    params=["csv", "sftp", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("s3", "gcs", "azure"))]
)
def store(request: pytest.FixtureRequest, shop: Shop) -> Store:
    connect: dict[str, Callable[[], tuple[dict[str, Any], Put]]] = {
        "csv": lambda: _csv(shop),
        "sftp": lambda: _sftp(shop, request.getfixturevalue("sftp_server"), request.getfixturevalue("sftp_folder")),
        "s3": lambda: _s3(shop, request.getfixturevalue("s3_bucket")),
        "gcs": lambda: _gcs(request.getfixturevalue("gcs_bucket")),
        "azure": lambda: _azure(shop, request.getfixturevalue("azure_container")),
    }
    return Store(shop, *connect[request.param]())


def test_what_arrives_is_loaded_and_what_is_replaced_loads_again_and_what_is_mended_turns_its_partition_green(
    store: Store, instance: DagsterInstance
) -> None:
    store.put("Points.csv", GOOD)
    first = store.arrive(instance)
    assert store.points() == [("C1", 10), ("C2", 20)]

    store.put("Points.csv", GOOD.replace(",20,", ",21,"))
    second = store.arrive(instance)
    assert second != first
    assert store.points() == [("C1", 10), ("C2", 21)]

    store.put("Points.csv", ONE_BAD)
    bad = store.arrive(instance)
    assert bad is not None
    assert store.points() == [("C1", 10), ("C2", 21)]
    assert [status for status, _ in store.loads()] == ["committed", "committed", "failed"]
    assert bad in _failed(store, instance)

    store.put("Points.csv", MENDED)
    assert store.run(instance, bad)
    assert store.points() == [("C1", 11), ("C2", 22)]
    assert [status for status, _ in store.loads()] == ["committed", "committed", "failed", "committed", "skipped"]
    assert "replaced by" in store.loads()[-1][1]
    keys = set(instance.get_dynamic_partitions("customers/points"))
    assert instance.get_materialized_partitions(AssetKey(["customers", "points"])) == keys
    assert len(keys) == 4
    if not store.uploads:
        assert store.arrive(instance) is None

    receipts, rejects = store.answers()
    assert {receipt["item"]: receipt["status"] for receipt in receipts} == {
        key: "failed" if key == bad else "committed" for key in keys
    }
    [named] = [receipt["rejects"] for receipt in receipts if receipt["rejects"]]
    assert "C2,Silver,many" in rejects[named]


def _failed(store: Store, instance: DagsterInstance) -> set[str]:
    """Partitions that no run has materialized."""
    keys = set(instance.get_dynamic_partitions("customers/points"))
    return keys - instance.get_materialized_partitions(AssetKey(["customers", "points"]))


def _secret(shop: Shop, name: str, value: str) -> dict[str, str]:
    path = shop.home / name
    path.write_text(value)
    return {"file": str(path)}


def _csv(shop: Shop) -> tuple[dict[str, Any], Put]:
    return {"type": "csv", "directory": str(shop.files)}, lambda path, text: _write(shop, shop.files / path, text)


def _sftp(shop: Shop, server: SftpServer, folder: Path) -> tuple[dict[str, Any], Put]:
    connection = {
        "type": "sftp", "host": server.host, "port": server.port, "username": server.username,
        "private_key": _secret(shop, "key", server.private_key), "host_key": server.host_key, "root": str(folder),
    }  # fmt: skip
    return connection, lambda path, text: _write(shop, folder / path, text)


def _s3(shop: Shop, bucket: S3Bucket) -> tuple[dict[str, Any], Put]:
    server = bucket.server
    connection = {
        "type": "s3", "bucket": bucket.name, "region": "us-east-1", "endpoint_url": server.endpoint_url,
        "path_style": True, "access_key_id": _secret(shop, "id", server.access_key_id),
        "secret_access_key": _secret(shop, "secret", server.secret_access_key),
    }  # fmt: skip
    return connection, lambda path, text: bucket.put(path, text.encode())


def _gcs(bucket: GcsBucket) -> tuple[dict[str, Any], Put]:
    connection = {
        "type": "gcs", "bucket": bucket.name, "project": bucket.server.project,
        "endpoint_url": bucket.server.endpoint_url,
    }  # fmt: skip
    return connection, lambda path, text: bucket.put(path, text.encode())


def _azure(shop: Shop, container: Container) -> tuple[dict[str, Any], Put]:
    server = container.server
    connection = {
        "type": "azure", "account": server.account, "container": container.name, "endpoint_url": server.endpoint_url,
        "account_key": _secret(shop, "key", server.account_key),
    }  # fmt: skip
    return connection, lambda path, text: container.put(path, text.encode())


def _write(shop: Shop, path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    os.utime(path, (shop.now.timestamp(), shop.now.timestamp()))
