"""A small project: one database, one import of tills' points, its files in a local folder or on a real SFTP server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from dagster import (
    AssetCheckEvaluation,
    AssetKey,
    DagsterEventType,
    DagsterInstance,
    Definitions,
    ExecuteInProcessResult,
    SensorResult,
    SkipReason,
)
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import create_execution_plan, execute_run
from dagster._core.execution.plan.state import KnownExecutionState

from ingest_pipelines.config import BoundImport, Settings, read_project
from ingest_pipelines.model import Item
from ingest_pipelines.orchestration.assets import step_errors
from ingest_pipelines.orchestration.assets.partitions import partitions_name
from ingest_pipelines.orchestration.definitions import build_definitions
from ingest_pipelines.orchestration.sensors.file_items import find_file_items
from ingest_pipelines.orchestration.sensors.listings import Listings
from ingest_pipelines.orchestration.site import Site

NOW = datetime(2026, 11, 22, 9, 15, tzinfo=UTC)

DATABASES = {
    "databases": {
        "customers": {
            "table": "crm.customers",
            "key": "customer_id",
            "fields": {
                "customer_id": {"type": "string", "max_length": 64},
                "tier": {"type": "string", "max_length": 20},
                "email": {"type": "email", "pii": True},
            },
        }
    }
}
IMPORT: dict[str, Any] = {
    "description": "Points and tier from the tills",
    "owners": ["team:crm"],
    "labels": ["tills"],
    "database": "customers",
    "source": {"connection": "uploads", "file": "points/Points", "settle": "1s"},
    "columns": {
        "CID": "customer_id",
        "Tier": "tier",
        "Points": {"field": "points", "type": "int"},
        "Joined": {"field": "joined_on", "type": "date"},
    },
}
SFTP = {
    "type": "sftp", "host": "sftp.example.com", "username": "shop", "password": {"env": "HOME"},
    "host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA", "root": "/",
}  # fmt: skip
HEADER = "CID,Tier,Points,Joined"
GOOD = f"{HEADER}\nC1,Gold,10,2024-05-01\nC2,Silver,20,2024-06-01\n"
ONE_BAD = f"{HEADER}\nC1,Gold,10,2024-05-01\nC2,Silver,many,2024-06-01\n"


@dataclass
class Shop:
    """The project on disk, its target, and the files that its vendor delivers."""

    home: Path
    state: Path
    files: Path
    database_url: str
    now: datetime = NOW
    stages: list[str] = field(default_factory=list)

    def site(self, *, watch: Callable[[str], None] | None = None, **settings: Any) -> Site:
        return Site(
            Settings(
                home=self.home, state=self.state, database_url=self.database_url, dagster_url=None, **settings
            ),
            read_project(self.home),
            watch=watch or self.stages.append,
            clock=lambda: self.now,
        )  # fmt: skip

    def write_import(self, name: str = "points", **changes: Any) -> None:
        text = yaml.safe_dump({**IMPORT, **changes}, sort_keys=False)
        (self.home / "imports" / f"{name}.yaml").write_text(text, encoding="utf-8")

    def add_vendor(self, **more: dict[str, Any]) -> None:
        """A connection whose files have a sensor; nothing answers at its address."""
        path = self.home / "connections.yaml"
        connections = yaml.safe_load(path.read_text())
        connections["connections"] |= {"vendor": SFTP, **more}
        path.write_text(yaml.safe_dump(connections))

    def deliver(self, name: str, text: str, age: timedelta = timedelta(hours=1)) -> Path:
        path = self.files / "points" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        when = (self.now - age).timestamp()
        os.utime(path, (when, when))
        return path

    def bound(self, name: str = "points") -> BoundImport:
        return self.site().project.require(name)

    def definitions(self, **changes: Any) -> Definitions:
        return build_definitions(self.site(**changes))

    def arrive(self, instance: DagsterInstance, name: str = "points") -> Item:
        """The last file as a partition, as a sensor would add it."""
        site = self.site()
        bound = site.project.require(name)
        item = find_file_items(site, bound, Listings()).items[-1]
        instance.add_dynamic_partitions(partitions_name(bound), [str(item.key)])
        return item

    def run(
        self, instance: DagsterInstance, item: Item, *, defs: Definitions | None = None, **tags: str
    ) -> ExecuteInProcessResult:
        job = (defs or self.definitions()).resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            asset_selection=[AssetKey(["customers", item.import_name])],
            partition_key=str(item.key),
            instance=instance,
            raise_on_error=False,
            tags=tags,
        )

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query.encode()).fetchall()


def write_windows(shop: Shop, name: str = "points", **more: Any) -> None:
    """An import of days from 30 days ago on; its source does not answer."""
    shop.add_vendor(
        crm={
            "type": "postgresql", "host": "127.0.0.1", "port": 1, "database": "crm", "username": "reader",
            "password": {"env": "HOME"},
        }
    )  # fmt: skip
    start = shop.now - timedelta(days=30)
    query = "SELECT id AS cid, tier FROM members WHERE changed >= {windowStart} AND changed < {windowEnd}"
    source = {"connection": "crm", "query": query, "window": {"every": "day", "start": f"{start:%Y-%m-%d}"}}
    shop.write_import(name, source=source, columns={"cid": "customer_id", "tier": "tier"}, **more)


@pytest.fixture(autouse=True)
def _steps_are_tried_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the test's own process; runs that it starts elsewhere pause as those of users do."""
    monkeypatch.setattr(step_errors, "FIRST_PAUSE_SECONDS", 0.01)


@pytest.fixture
def shop(tmp_path: Path, ledger_url: str) -> Shop:
    return new_shop(tmp_path, ledger_url)


def new_shop(folder: Path, database_url: str) -> Shop:
    """A shop whose project, state and files lie in the folder."""
    home, files = folder / "project", folder / "uploads"
    (home / "imports").mkdir(parents=True)
    files.mkdir()
    connections = {"connections": {"uploads": {"type": "csv", "directory": str(files)}}}
    (home / "connections.yaml").write_text(yaml.safe_dump(connections), encoding="utf-8")
    (home / "databases.yaml").write_text(yaml.safe_dump(DATABASES), encoding="utf-8")
    shop = Shop(home, folder / "state", files, database_url)
    shop.write_import()
    return shop


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    """A Dagster instance in memory, of this test's own."""
    with DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def kept_instance() -> Iterator[DagsterInstance]:
    """A Dagster instance on disk: a schedule's tick opens its own from a reference."""
    with DagsterInstance.local_temp() as instance:
        yield instance


@pytest.fixture(scope="module")
def own_instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DagsterInstance]:
    """A Dagster instance on disk with a queue, which a module's tests share."""
    overrides: dict[str, Any] = {
        "run_coordinator": {"module": "dagster", "class": "QueuedRunCoordinator"},
        "concurrency": {
            "runs": {
                "max_concurrent_runs": 2,
                "tag_concurrency_limits": [
                    {"key": "ingest/import", "value": {"applyLimitPerUniqueValue": True}, "limit": 1}
                ],
            }
        },
    }
    with DagsterInstance.local_temp(str(tmp_path_factory.mktemp("dagster")), overrides=overrides) as instance:
        yield instance


def verdicts(instance: DagsterInstance, run_id: str) -> dict[str, AssetCheckEvaluation]:
    """The run's asset checks by name, whether a step of their own judged them or the step that failed."""
    records = instance.all_logs(run_id, of_type=DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [record.dagster_event.asset_check_evaluation_data for record in records if record.dagster_event]
    return {verdict.check_name: verdict for verdict in found}


def go_on(definitions: Definitions, run_id: str, instance: DagsterInstance) -> None:
    """What the UI's re-execution from failure does."""
    selection = {AssetKey(["customers", "points"])}
    job = definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection=selection)
    parent = instance.get_run_by_id(run_id)
    assert parent is not None
    steps, known = KnownExecutionState.build_resume_retry_reexecution(instance, parent)
    plan = create_execution_plan(
        job, step_keys_to_execute=list(steps), known_state=known, instance_ref=instance.get_ref(), tags=parent.tags
    )
    run = instance.create_run_for_job(
        job, plan, tags=parent.tags, parent_run_id=run_id, root_run_id=run_id, asset_selection=selection
    )
    execute_run(InMemoryJob(job), run, instance, raise_on_error=True)


def why_nothing(result: SensorResult) -> str:
    """What the tick's page says of a tick that requests no run."""
    assert not result.run_requests
    reason = result.skip_reason
    return str(reason.skip_message if isinstance(reason, SkipReason) else reason)
