"""`examples/dbt_marts` as it stands: an import, and the dbt models on its table, in one code location."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from ingest_pipelines_tests.dbt_environment import python_of_dbt

ROOT = Path(__file__).parents[2]

_RUN = """
import importlib.util, json, sys

example, *places = sys.argv[1:]
sys.path.extend(places)  # what dbt's environment does not have, from the tests' own
spec = importlib.util.spec_from_file_location("location", example + "/definitions.py")
location = importlib.util.module_from_spec(spec)
spec.loader.exec_module(location)

from dagster import AssetKey, DagsterInstance, Definitions

defs = location.defs()
Definitions.validate_loadable(defs)
repository = defs.get_repository_def()
job = repository.get_implicit_global_asset_job_def()
imports, model = AssetKey(["customers", "customers"]), AssetKey("customers_by_tier")
with DagsterInstance.ephemeral() as instance:
    def run(key, **partition):
        return job.execute_in_process(asset_selection=[key], instance=instance, **partition).success

    done = [run(imports)]
    [partition] = instance.get_dynamic_partitions("customers/customers")
    done += [run(imports, partition_key=partition), run(model)]
    parents = [key.path for key in repository.asset_graph.get(model).parent_keys]
    changed = [instance.get_latest_materialization_event(AssetKey(path)) is not None for path in parents]
print(json.dumps({"done": done, "parents": [list(path) for path in parents], "changed": changed}))
"""


@pytest.mark.slow
def test_the_examples_models_follow_its_import_in_one_location(tmp_path: Path, database_url: str) -> None:
    example = tmp_path / "dbt_marts"
    shutil.copytree(ROOT / "examples" / "dbt_marts", example)
    parts = urlsplit(database_url)
    python = python_of_dbt()
    environment = {
        **os.environ, "WAREHOUSE_URL": database_url, "DAGSTER_IS_DEV_CLI": "1",
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "PGHOST": str(parts.hostname), "PGPORT": str(parts.port), "PGUSER": str(parts.username),
        "PGPASSWORD": str(parts.password), "PGDATABASE": parts.path[1:],
    }  # fmt: skip
    ran = subprocess.run(
        [python, "-c", _RUN, str(example), str(ROOT), sysconfig.get_path("purelib")],
        cwd=example, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-4000:]
    answer = json.loads(ran.stdout.splitlines()[-1])
    assert answer == {"done": [True, True, True], "parents": [["table", "crm", "customers"]], "changed": [True]}
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT tier, customers FROM marts.customers_by_tier ORDER BY 1").fetchall()
    assert rows == [("Bronze", 1), ("Gold", 1), ("Silver", 2)]
