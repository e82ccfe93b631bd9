"""HiveServer2 as Spark ships it: Hive's own Thrift and SASL protocol, Spark's SQL, any password."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

from ingest_pipelines_tests.servers.fleet import Fleet, Launched, ServerDown, accepts

_FOR_FEW_ROWS = {
    "spark.sql.codegen.wholeStage": "false", "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
}  # fmt: skip
"""No query is compiled, and none is planned again while it runs: with few rows both take longer than to read them."""


@dataclass(frozen=True)
class HiveServer:
    """How to log in, and where Spark tells what it is doing."""

    port: int
    status_port: int
    host: str = "127.0.0.1"
    username: str = "etl"


@dataclass(frozen=True)
class HiveDatabase:
    """An empty database that one test uses."""

    server: HiveServer
    name: str

    def execute(self, *statements: str) -> None:
        """The statements ran."""
        from pyhive import hive

        with (
            closing(
                hive.connect(
                    host=self.server.host, port=self.server.port, username=self.server.username, database=self.name
                )
            ) as connection,
            closing(connection.cursor()) as cursor,
        ):
            for statement in statements:
                cursor.execute(statement)


def launch(fleet: Fleet, folder: Path) -> Launched:
    """The server accepts connections; that takes Java about five seconds.

    Its tables are listed in memory: a metastore, which clients never meet, takes longer to start than all the rest.
    """
    spark = find_spec("pyspark")
    if spark is None or spark.origin is None:
        raise ServerDown("pyspark is not installed")
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        raise ServerDown("there is no java; on Debian: apt-get install openjdk-17-jre-headless")
    home = Path(spark.origin).parent
    server = HiveServer(fleet.free_port(), fleet.free_port())
    temporary = folder / "tmp"
    java = f"-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Djava.io.tmpdir={temporary}"
    spark_settings = {
        "spark.ui.port": str(server.status_port), "spark.ui.liveUpdate.period": "0",
        "spark.sql.shuffle.partitions": "2", "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1", "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.sql.catalogImplementation": "in-memory", **_FOR_FEW_ROWS,
    }  # fmt: skip
    hive_settings = {
        "hive.server2.thrift.port": str(server.port), "hive.server2.thrift.bind.host": "127.0.0.1",
        "hive.server2.authentication": "NONE", "hive.server2.transport.mode": "binary",
        "hive.exec.scratchdir": str(temporary / "scratch"), "hive.exec.local.scratchdir": str(temporary / "local"),
    }  # fmt: skip
    # The wheel has the server's jar, but not the script that starts it.
    command: list[str | Path] = [
        home / "bin" / "spark-submit", "--class", "org.apache.spark.sql.hive.thriftserver.HiveThriftServer2",
        "--master", "local[2]", "--driver-memory", "1g", "--driver-java-options", java,
        *(word for name, value in spark_settings.items() for word in ("--conf", f"{name}={value}")),
        "spark-internal",
        *(word for name, value in hive_settings.items() for word in ("--hiveconf", f"{name}={value}")),
    ]  # fmt: skip
    environment = {"SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_DIRS": str(temporary)}
    process = fleet.spawn(command, folder, lambda: accepts(server.port), environment)
    return Launched(server, process.pid)


@contextmanager
def fresh_database(server: HiveServer) -> Iterator[HiveDatabase]:
    """An empty database; it is dropped after the block."""
    name = f"test_{uuid4().hex}"
    whole = HiveDatabase(server, "default")
    whole.execute(f"CREATE DATABASE {name}")
    try:
        yield HiveDatabase(server, name)
    finally:
        whole.execute(f"DROP DATABASE {name} CASCADE")
