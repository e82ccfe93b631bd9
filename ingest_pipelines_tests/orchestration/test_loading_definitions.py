"""What is read, asked and written when a code location is imported, and when Dagster loads its definitions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ingest_pipelines_tests.orchestration.conftest import SFTP, new_shop

SECRETS = dict.fromkeys(("S3_ID", "S3_KEY", "SHOP_PW", "VENDOR_PW"), "hunter2")

LOCATION = """
from pathlib import Path

from dagster import Definitions, EnvVar, asset, definitions

from ingest_pipelines import ingest_definitions


@asset
def mart() -> None: ...


@definitions
def defs() -> Definitions:
    project = Path(__file__).parent / "project"
    imports = ingest_definitions(project, key_prefix="crm", target_url=EnvVar("WAREHOUSE_URL"))
    return Definitions.merge(imports, Definitions(assets=[mart]))
"""

SANDBOX = """
import importlib.util, json, os, sys

import croniter, dagster  # these start a process to learn what Python they are in

sys.dont_write_bytecode = True
home, events, variables = os.path.join(os.path.dirname(sys.argv[1]), "project"), [], set()
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
TOUCHES = ("socket.", "sqlite3.", "subprocess.", "os.posix_spawn", "os.fork", "os.exec", "os.mkdir", "os.rename",
           "os.remove", "os.rmdir", "os.chmod", "os.chown", "os.link", "os.symlink", "os.truncate", "tempfile.")


class Watched(type(os.environ)):
    def __getitem__(self, name):
        reader = sys._getframe(1)
        while reader.f_code.co_filename.startswith("<frozen "):  # `os` and its likes
            reader = reader.f_back
        if "/ingest_pipelines/" in reader.f_code.co_filename or reader.f_code.co_filename == sys.argv[1]:
            variables.add(name)
        return super().__getitem__(name)


def watch(event, arguments):
    if event == "open" and arguments[2] & WRITES:
        events.append(["written", str(arguments[0])])
    elif event == "open" and str(arguments[0]).startswith(home):
        events.append(["read", os.path.relpath(arguments[0], home)])
    elif event.startswith(TOUCHES):
        events.append([event, str(arguments)])


def seen():
    told = {"events": sorted(events), "variables": sorted(variables)}
    events.clear()
    variables.clear()
    return told


os.environ.__class__ = Watched
sys.addaudithook(watch)
spec = importlib.util.spec_from_file_location("location", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
steps = {"imported": seen()}
definitions = module.defs()
steps["loaded"] = seen()
names = sorted(sensor.name for sensor in definitions.get_repository_def().sensor_defs)
steps["resolved"] = seen()
print(json.dumps({"names": names, **steps}))
"""


@pytest.fixture
def location(tmp_path: Path) -> Path:
    """A team's code location, whose project has connections of every kind of secret and network."""
    shop = new_shop(tmp_path, "")
    lake = {"type": "s3", "bucket": "drops", "access_key_id": {"env": "S3_ID"}, "secret_access_key": {"env": "S3_KEY"}}
    query = {"type": "postgresql", "host": "db", "database": "shop", "username": "me", "password": {"env": "SHOP_PW"}}
    shop.add_vendor(lake=lake, shop=query, vendor={**SFTP, "password": {"env": "VENDOR_PW"}})
    shop.write_import("tills", source={"connection": "vendor", "file": "tills/Points"}, schedule={"every": "6h"})
    shop.write_import("drops", source={"connection": "lake", "file": "drops/Points"})
    shop.write_import(
        "visits", source={"connection": "shop", "query": "SELECT * FROM visits"}, schedule={"every": "1h"}
    )
    (tmp_path / "location.py").write_text(LOCATION)
    return tmp_path / "location.py"


def test_to_import_a_location_reads_nothing_and_to_load_it_reads_the_projects_files(location: Path) -> None:
    """No connection, no server, no process, no file written. The variables of the sources' secrets have to be set."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SANDBOX, str(location)],
        env={**os.environ, **SECRETS}, check=True, capture_output=True, text=True, cwd=location.parent,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert {"crm__customers__drops__files", "crm__customers__tills__files"} < set(told["names"])
    assert told["imported"]["events"] == []
    assert told["imported"]["variables"] == []
    imports = [f"imports/{name}.yaml" for name in ("drops", "points", "tills", "visits")]
    files = ["connections.yaml", "databases.yaml", *imports]
    assert {tuple(event) for event in told["loaded"]["events"]} == {("read", file) for file in files}
    assert told["resolved"]["events"] == []
    variables = {*told["loaded"]["variables"], *told["resolved"]["variables"]}
    assert {name for name in variables if not name.startswith(("INGEST_", "DAGSTER_"))} == set(SECRETS)
    assert "INGEST_DATABASE_URL" not in variables, "the target is the argument's, and a run reads it"
    assert {path.name for path in location.parent.iterdir()} == {"location.py", "project", "uploads"}


def test_the_package_imports_no_dagster_until_its_door_is_opened(location: Path) -> None:
    program = f"""
import json, sys
import ingest_pipelines
assert "ingest_definitions" in dir(ingest_pipelines)
before = sorted(sys.modules)
from ingest_pipelines import ingest_definitions
ingest_definitions({str(location.parent / "project")!r})
print(json.dumps([before, sorted(sys.modules)]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, cwd=location.parent
    )
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout)
    assert not {"dagster", "pydantic", "yaml", "psycopg"} & set(before)
    assert "dagster" in after
    assert not {"dagster_snowflake", "dagster_aws", "dagster_gcp", "pandas", "ingest_pipelines.component"} & set(after)
