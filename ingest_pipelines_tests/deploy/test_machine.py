"""The systemd units: systemd takes them, they listen to this machine only, and they are shut in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ingest_pipelines_tests.deploy.places import DEPLOY

UNITS = sorted((DEPLOY / "machine").glob("*.service"))
EXPOSURE = 15
"""systemd's own measure, 0 to 100. A service without restrictions has 96."""


def _service(unit: Path) -> str:
    return unit.read_text().partition("[Service]")[2]


def test_there_is_a_webserver_one_to_look_at_a_studio_a_daemon_and_a_watcher() -> None:
    names = [f"ingest-{name}" for name in ("daemon", "studio", "viewer", "watcher", "webserver")]
    assert [unit.stem for unit in UNITS] == names


def test_the_studio_believes_the_proxy_only_and_alone_writes_the_project() -> None:
    texts = {unit.stem: _service(unit) for unit in UNITS}
    assert "Environment=INGEST_STUDIO_PROXY_SECRET_FILE=%d/studio_secret" in texts["ingest-studio"]
    assert [name for name, text in texts.items() if "ReadWritePaths=" in text] == ["ingest-studio"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_takes_every_unit(unit: Path, tmp_path: Path) -> None:
    installed = tmp_path / unit.name
    installed.write_text(unit.read_text().replace("/opt/ingest/bin", str(Path(sys.executable).parent)))
    done = subprocess.run(["systemd-analyze", "verify", installed], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_finds_little_that_a_service_could_harm(unit: Path) -> None:
    words = ["systemd-analyze", "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", str(unit)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("unit", [unit for unit in UNITS if "daemon" not in unit.stem], ids=lambda unit: unit.stem)
def test_what_listens_does_so_to_this_machine_only(unit: Path) -> None:
    [command] = [line for line in _service(unit).splitlines() if line.startswith("ExecStart=")]
    assert "-h 127.0.0.1" in command or "--host 127.0.0.1" in command
    assert ("--read-only" in command) == ("viewer" in unit.stem)


def test_all_services_are_shut_in_alike() -> None:
    rules = {unit.stem: _service(unit).partition("# It reads its project")[2] for unit in UNITS}
    assert len(set(rules.values())) == 1


def test_secrets_reach_a_service_as_files_of_its_own() -> None:
    for unit in UNITS:
        text = _service(unit)
        for name in ("database_url", "dagster_url"):
            assert f"LoadCredential={name}:/etc/ingest/secrets/{name}" in text
            assert f"Environment=INGEST_{name.upper()}_FILE=%d/{name}" in text
    assert "://" not in (DEPLOY / "machine" / "ingest.env").read_text()
