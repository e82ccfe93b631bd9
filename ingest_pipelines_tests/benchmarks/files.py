"""A large file from every file source onto the local disk, against the store's own tools in the same run.

`python -m ingest_pipelines_tests.benchmarks.files [local sftp s3 gcs] [--megabytes 1024] [--rounds 2] [--against DIR]`

We are `land_file` as a run calls it: the bytes are hashed, counted and written, and the file is proven unchanged. The
tools write the bytes and no more, or only read and hash them, which counts for no ratio. Everybody is a process of its
own, and all take turns. Our ratio leaves out how long Python takes to start and import what a run imports anyway; the
column before has it.
"""

# ruff: noqa: T201  it prints a table

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ingest_pipelines_tests.benchmarks.process import Cost, measure
from ingest_pipelines_tests.servers import gcs, s3, sftp
from ingest_pipelines_tests.servers.fleet import Fleet

_ROOT = Path(__file__).resolve().parents[2]
NAME = "big.csv"
WE = "ingest"


@dataclass(frozen=True)
class Store:
    """A store that holds the file.

    Attributes:
        connection: as connections.yaml has it.
        tools: commands that write the file to `{out}`, by name; one without `{out}` writes nothing.
        server: the process whose CPU counts as the server's; 0 where there is none.
        environment: secrets that the connection refers to.
    """

    connection: Mapping[str, Any]
    tools: Mapping[str, Sequence[str]]
    server: int
    environment: Mapping[str, str] = field(default_factory=dict)


def main(arguments: Sequence[str]) -> None:
    """The table, on standard output."""
    parser = argparse.ArgumentParser(prog="python -m ingest_pipelines_tests.benchmarks.files")
    parser.add_argument("stores", nargs="*", help=", ".join(_STORES))
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--against", type=Path, help="another checkout of the project, measured as well")
    parser.add_argument("--land", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.land:
        _land(json.loads(options.land))
        return
    fleet = Fleet.assemble()
    print("| store | who | process s | transfer s | MB/s | client CPU s | server CPU s | peak MB | / fastest tool |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    try:
        with tempfile.TemporaryDirectory(prefix="ingest-files-") as temporary:
            folder = Path(temporary)
            folder.chmod(0o755)
            file = _generated(folder / NAME, options.megabytes << 20)
            for name in options.stores or _STORES:
                with _STORES[name](fleet, folder, file) as store:
                    _compare(name, store, folder, file.stat().st_size, options.rounds, options.against)
    finally:
        fleet.disband()


def _compare(name: str, store: Store, folder: Path, size: int, rounds: int, against: Path | None) -> None:
    """Everybody in turn; the best round of each is told."""
    work = folder / "work"
    work.mkdir()
    out = work / "out"
    land = json.dumps({"connection": store.connection, "spool": str(work / "spool")})
    commands: dict[str, list[str]] = {
        **{tool: [part.replace("{out}", str(out)) for part in command] for tool, command in store.tools.items()},
        WE: [sys.executable, "-m", "ingest_pipelines_tests.benchmarks.files", "--land", land],
    }
    ours = {WE: _ROOT, **({str(against): against} if against else {})}
    commands.update(dict.fromkeys(ours, commands[WE]))
    writers = {tool for tool, command in store.tools.items() if any("{out}" in part for part in command)}
    best: dict[str, tuple[float, Cost]] = {}
    for _ in range(rounds):
        for who, command in commands.items():
            cost = measure(
                command,
                {**os.environ, "PYTHONPATH": str(ours.get(who, _ROOT)), **store.environment},
                work,
                store.server,
            )
            if cost.exit_code:
                raise SystemExit(f"{name}, {who}: {cost.output}")
            if who in ours or who in writers:
                made = next((work / "spool").iterdir()) if who in ours else out
                assert made.stat().st_size == size
                made.unlink()
            seconds = float(cost.output) if who in ours else cost.wall
            best[who] = min(best.get(who, (seconds, cost)), (seconds, cost), key=lambda known: known[0])
    fastest = min(best[tool][0] for tool in writers)
    for who, (seconds, cost) in best.items():
        print(
            f"| {name} | {who} | {cost.wall:.2f} | {seconds:.2f} | {size / 1e6 / seconds:.0f} | {cost.client_cpu:.2f}"
            f" | {cost.server_cpu:.2f} | {cost.peak_mb:.0f} | {seconds / fastest:.2f} |",
            flush=True,
        )
    shutil.rmtree(work)


def _land(task: Mapping[str, Any]) -> None:
    """What a run does with the file, alone in its process; it says how long it took."""
    from ingest_pipelines.config.connections import Connections
    from ingest_pipelines.config.imports import Limits
    from ingest_pipelines.landing import land_file
    from ingest_pipelines.sources import open_files
    from ingest_pipelines.sources.files import item_of

    [connection] = Connections.model_validate({"connections": {"vendor": task["connection"]}}).connections.values()
    start = time.perf_counter()
    with open_files(connection) as source:
        item = item_of("files", source.stat(NAME), source.uri(NAME))
        land_file(item, source, Path(task["spool"]), Limits())
    print(time.perf_counter() - start)


def _generated(path: Path, size: int) -> Path:
    """A CSV file of random rows, as large as asked for."""
    block = b"".join(b"C%d,%s,%d\n" % (number, os.urandom(20).hex().encode(), number * 7) for number in range(20_000))
    with path.open("wb") as file:
        while size > 0:
            size -= file.write(block[:size])
    return path


@contextmanager
def _local(fleet: Fleet, folder: Path, file: Path) -> Iterator[Store]:
    tools = {
        "cp": ["cp", str(file), "{out}"],
        "sha256sum": ["sha256sum", str(file)],
        "cat": ["sh", "-c", f"cat '{file}' > '{{out}}'"],
        "tee, sha256sum": ["sh", "-c", f"tee '{{out}}' < '{file}' | sha256sum"],
    }
    yield Store({"type": "csv", "directory": str(folder)}, tools, 0)


@contextmanager
def _sftp(fleet: Fleet, folder: Path, file: Path) -> Iterator[Store]:
    server = fleet.ask("sftp", sftp.SftpServer, sftp.launch)
    there = Path(server.root) / NAME
    shutil.copy(file, there)
    key = folder / "key"
    key.write_text(server.private_key)
    key.chmod(0o600)
    (folder / "known").write_text(f"[{server.host}]:{server.port} {server.host_key}\n")
    options = ["-i", str(key), "-o", f"UserKnownHostsFile={folder / 'known'}", "-P", str(server.port)]
    command = ["sftp", "-q", "-b", "/dev/null", *options, f"{server.username}@{server.host}:{there}", "{out}"]
    connection = server.connection(key="BENCH_KEY")
    command = [part for part in command if part not in {"-b", "/dev/null"}]
    yield Store(connection, {"sftp": command}, _pid(fleet, "sftp"), {"BENCH_KEY": server.private_key})
    there.unlink()


@contextmanager
def _s3(fleet: Fleet, folder: Path, file: Path) -> Iterator[Store]:
    server = fleet.ask("s3", s3.S3Server, s3.launch)
    with s3.fresh_bucket(server) as bucket:
        client: Any = server.client()
        client.upload_file(str(file), bucket.name, NAME)
        url = client.generate_presigned_url("get_object", Params={"Bucket": bucket.name, "Key": NAME})
        login = f"endpoint_url={server.endpoint_url!r}, region_name='us-east-1'"
        python = f"import boto3; boto3.client('s3', {login}).download_file({bucket.name!r}, {NAME!r}, '{{out}}')"
        connection = {
            "type": "s3", "bucket": bucket.name, "region": "us-east-1", "endpoint_url": server.endpoint_url,
            "path_style": True, "access_key_id": {"env": "AWS_ACCESS_KEY_ID"},
            "secret_access_key": {"env": "AWS_SECRET_ACCESS_KEY"},
        }  # fmt: skip
        yield Store(
            connection,
            {"curl": ["curl", "-sfo", "{out}", url], "boto3 download_file": [sys.executable, "-c", python]},
            _pid(fleet, "s3"),
            {"AWS_ACCESS_KEY_ID": server.access_key_id, "AWS_SECRET_ACCESS_KEY": server.secret_access_key},
        )


@contextmanager
def _gcs(fleet: Fleet, folder: Path, file: Path) -> Iterator[Store]:
    server = fleet.ask("gcs", gcs.GcsServer, gcs.launch)
    with gcs.fresh_bucket(server) as bucket:
        server.client().bucket(bucket.name).blob(NAME, chunk_size=64 << 20).upload_from_filename(str(file))
        url = f"{server.endpoint_url}/storage/v1/b/{bucket.name}/o/{NAME}?alt=media"
        python = (
            "from google.cloud import storage; from google.auth.credentials import AnonymousCredentials as No; "
            f"c = storage.Client(project='tests', credentials=No(), client_options={{'api_endpoint': "
            f"{server.endpoint_url!r}}}); c.bucket({bucket.name!r}).blob({NAME!r}).download_to_filename('{{out}}')"
        )
        connection = {"type": "gcs", "bucket": bucket.name, "project": "tests", "endpoint_url": server.endpoint_url}
        tools = {"curl": ["curl", "-sfo", "{out}", url], "google-cloud-storage": [sys.executable, "-c", python]}
        yield Store(connection, tools, _pid(fleet, "gcs"))


def _pid(fleet: Fleet, name: str) -> int:
    return int(json.loads((fleet.folder / f"{name}.json").read_text())["pid"])


_STORES = {"local": _local, "sftp": _sftp, "s3": _s3, "gcs": _gcs}


if __name__ == "__main__":
    main(sys.argv[1:])
