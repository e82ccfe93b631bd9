"""The world: servers behind networks that break, a target that may be killed, `ingest up`, and its clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml
from dagster import DagsterRunStatus, RunsFilter
from psycopg import sql

from ingest_pipelines_tests.guarantees.killable_commands import Runner
from ingest_pipelines_tests.guarantees.on_call.platform import Platform
from ingest_pipelines_tests.guarantees.on_call.wall_clock import WallClock
from ingest_pipelines_tests.guarantees.torture.target import TargetServer, postgres_18
from ingest_pipelines_tests.guarantees.whole_way.place import Place, place_of
from ingest_pipelines_tests.servers import s3, sftp
from ingest_pipelines_tests.servers.cut_proxy import CutProxy
from ingest_pipelines_tests.servers.fleet import Fleet
from ingest_pipelines_tests.waiting import until

IN_PROGRESS = [
    DagsterRunStatus.QUEUED, DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTING, DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]  # fmt: skip

HURRY_SECONDS = 8


@dataclass
class World:
    """What histories share.

    Attributes:
        place: the project and its servers, and `ingest` beside the daemon.
        server: the Postgres of target and runs, which may be killed.
        clock: of the product.
    """

    place: Place
    platform: Platform
    server: TargetServer
    bucket: s3.Bucket
    clock: WallClock
    ahead: int = 0
    last_put: int = 0

    def keep_up(self) -> None:
        """`ingest up` runs and is ready; it may have ended by itself, as after five deaths within five minutes."""
        if self.platform.has_ended():
            self.platform.start()
        until(lambda: self.platform.is_up() or self.platform.has_ended(), 240)

    def is_idle(self) -> bool:
        """Whether no run is queued or in progress."""
        return self.place.instance.get_runs_count(RunsFilter(statuses=IN_PROGRESS)) == 0

    def now(self) -> datetime:
        """By the product's clock."""
        return datetime.now(UTC) + timedelta(seconds=self.ahead)

    def pass_time(self, seconds: int) -> None:
        """It is so much later for the product."""
        if self.clock.environment:
            self.ahead += seconds
            self.clock.jump(self.ahead)

    def hurry(self) -> int:
        """Time passes quickly for the product; how many seconds. No faster than its code servers bear it."""
        time.sleep(1.0)  # a code server ends that heard nothing for twenty seconds
        self.pass_time(HURRY_SECONDS)
        return HURRY_SECONDS + 1

    def put(self, key: str, content: bytes) -> int:
        """The object is in the bucket; its time, which no other one has."""
        client = self.bucket.server.client()
        until(lambda: int(time.time()) > self.last_put)
        client.put_object(Bucket=self.bucket.name, Key=key, Body=content)
        modified = client.head_object(Bucket=self.bucket.name, Key=key)["LastModified"]
        self.last_put = int(modified.timestamp())
        return self.last_put


@contextmanager
def world_of(folder: Path, fleet: Fleet, vendor: sftp.SftpServer, store: s3.S3Server) -> Iterator[World]:
    """The world, and `ingest up` of a project without imports."""
    with ExitStack() as end:
        server = end.enter_context(postgres_18(folder / "server", fleet.free_port()))
        place = end.enter_context(place_of(folder / "it", fleet, server.admin_url, vendor=vendor))
        for url in (place.target, place.dagster):  # what it says is committed survives the death of its processes
            database = sql.Identifier(urlsplit(url).path[1:])
            with psycopg.connect(server.admin_url, autocommit=True) as admin:
                admin.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = 'local'").format(database))
        bucket = end.enter_context(s3.fresh_bucket(store))
        place.network = {
            **place.network, "drops": end.enter_context(CutProxy("127.0.0.1", store.port)),
            "vendor": end.enter_context(CutProxy(vendor.host, vendor.port)),
        }  # fmt: skip
        clock = WallClock(folder)
        place.environment = {
            **place.environment, **clock.environment, "DROPS_ID": store.access_key_id,
            "DROPS_SECRET": store.secret_access_key, "INGEST_LOCK_TIMEOUT": "5",
        }  # fmt: skip
        _connect(place, bucket)
        with pytest.MonkeyPatch.context() as patch:  # the library is loaded at the start of a process only
            for name, value in clock.environment.items():
                patch.setenv(name, value)
            program = "ingest_pipelines_tests.guarantees.under_the_daemon.program"
            place.runner = end.enter_context(Runner(folder / "it" / "outputs", place.environment, program, str(folder)))
            place.runner.run("--version")
        platform = Platform(folder, place.environment)
        end.callback(platform.stop)
        platform.start()
        platform.wait_until_up()
        yield World(place, platform, server, bucket, clock)


def _connect(place: Place, bucket: s3.Bucket) -> None:
    """The project's connections: a bucket, and networks in front of it and of the vendor."""
    path = place.folder / "project" / "connections.yaml"
    connections = yaml.safe_load(path.read_text())["connections"]
    connections["vendor"]["port"] = place.network["vendor"].port
    connections["drops"] = {
        "type": "s3", "bucket": bucket.name, "endpoint_url": f"http://127.0.0.1:{place.network['drops'].port}",
        "region": "us-east-1", "path_style": True, "access_key_id": {"env": "DROPS_ID"},
        "secret_access_key": {"env": "DROPS_SECRET"}, "timeout_seconds": 8, "retries": 1,
    }  # fmt: skip
    path.write_text(yaml.safe_dump({"connections": connections}))
