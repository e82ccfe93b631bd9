"""dbt and dagster-dbt in an environment of their own: their pins are not ours.

It is made once, beside the tests' own packages, and made anew when `requirements-dbt.lock` changes.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "requirements-dbt.lock"

_RUN = """
import json, sys
from dbt.cli.main import dbtRunner
from dagster_dbt import DagsterDbtTranslator

project, command = sys.argv[1:]
deprecations_are_errors = ["--warn-error-options", '{"error": ["Deprecations"]}']
ran = dbtRunner().invoke(
    [command, "--project-dir", project, "--profiles-dir", project, "--quiet", *deprecations_are_errors]
)
if ran.exception is not None:
    raise ran.exception
manifest = json.load(open(project + "/target/manifest.json"))
tests = {node["unique_id"]: node for node in manifest["nodes"].values() if node["resource_type"] == "test"}
outcomes = {result.node.unique_id: str(result.status) for result in getattr(ran.result, "results", ())}
print(json.dumps({
    "sources": {
        source["relation_name"]: {**source, "asset_key": DagsterDbtTranslator().get_asset_key(source).path}
        for source in manifest["sources"].values()
    },
    "models": {
        node["name"]: outcomes.get(name)
        for name, node in manifest["nodes"].items() if node["resource_type"] == "model"
    },
    "tests": [
        {"column": node["column_name"], "test": node["test_metadata"]["name"],
         "severity": node["config"]["severity"].lower(), "outcome": outcomes.get(name)}
        for name, node in tests.items()
    ],
}))
"""


@dataclass(frozen=True)
class Dbt:
    """A dbt project on disk."""

    project: Path

    def run(self, command: str, **environment: str) -> dict[str, Any]:
        """What dbt knows of the project's sources after the command, and how models and tests ended."""
        ran = subprocess.run(
            [python_of_dbt(), "-c", _RUN, str(self.project), command],
            cwd=self.project,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
        return found


def python_of_dbt() -> Path:
    """The interpreter of the environment, which is there afterwards."""
    folder = Path(sys.prefix) / "dbt"
    python, stamp = folder / "bin" / "python", folder / ".installed"
    with (Path(sys.prefix) / ".dbt-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_bytes() != LOCK.read_bytes():
            uv = Path(sys.prefix) / "bin" / "uv"
            commands: tuple[list[str | Path], ...] = (
                [uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder],
                [uv, "pip", "install", "--quiet", "--python", python, "-r", LOCK],
            )
            for command in commands:
                subprocess.run(command, check=True)
            stamp.write_bytes(LOCK.read_bytes())
    return python
