"""The Compose files: held to the Compose specification's schema, and to what docs/security.md promises."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingest_pipelines_tests.deploy.places import DEPLOY
from ingest_pipelines_tests.json_schema import jsonschema

COMPOSE = DEPLOY / "compose"
FILES = ("compose.yaml", "celery.yaml", "docker.yaml")
SOMEBODY_ELSES = {"postgres", "proxy", "redis", "docker"}
"""Services from images that we do not build."""


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((COMPOSE / name).read_text())
    return found


@pytest.mark.parametrize("name", FILES)
def test_the_compose_specification_allows_every_file(name: str) -> None:
    schema = files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text()
    jsonschema.Draft7Validator(json.loads(schema)).validate(_read(name))


def test_only_the_proxy_is_reached_from_outside_and_by_default_only_from_this_machine() -> None:
    published = {
        name: service["ports"]
        for file in FILES
        for name, service in _read(file)["services"].items()
        if "ports" in service
    }
    bound = "${INGEST_BIND:-127.0.0.1}"
    assert published == {
        "proxy": [f"{bound}:${{INGEST_PORT:-8443}}:8443", f"{bound}:${{INGEST_STUDIO_PORT:-8444}}:8444"]
    }


def test_between_proxy_and_webservers_nobody_else_listens() -> None:
    services = _read("compose.yaml")["services"]
    assert {name for name, service in services.items() if "front" in service["networks"]} == {
        "proxy", "webserver", "viewer", "studio",
    }  # fmt: skip
    assert _read("compose.yaml")["networks"]["front"] == {"internal": True}
    assert "back" not in services["proxy"]["networks"]


def test_the_viewers_webserver_is_read_only() -> None:
    services = _read("compose.yaml")["services"]
    assert "--read-only" in services["viewer"]["command"]
    assert "--read-only" not in services["webserver"]["command"]
    assert services["proxy"]["environment"]["INGEST_VIEWER"] == "viewer:3000"


@pytest.mark.parametrize("service", ["code", "webserver", "viewer", "daemon", "watcher", "studio", "proxy"])
def test_no_container_may_gain_rights_or_write_beside_its_volumes(service: str) -> None:
    found = _read("compose.yaml")["services"][service]
    assert found["read_only"]
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]


def test_only_what_loads_and_what_watches_it_get_the_targets_address() -> None:
    services = {**_read("compose.yaml")["services"], "worker": _read("celery.yaml")["services"]["worker"]}
    holders = {name for name, service in services.items() if "ingest_database_url" in service.get("secrets", ())}
    assert holders == {"code", "watcher", "worker", "studio"}


def test_the_studio_believes_the_proxy_only_and_alone_writes_the_project() -> None:
    services = _read("compose.yaml")["services"]
    studio, proxy = services["studio"], services["proxy"]
    assert studio["environment"]["INGEST_STUDIO_PROXY_SECRET_FILE"] == "/run/secrets/studio_secret"
    assert "studio_secret" in studio["secrets"]
    assert "studio_header" in proxy["secrets"]
    assert "studio_secret" not in proxy["secrets"]
    assert proxy["environment"]["INGEST_STUDIO"] == f"studio:{studio['command'][-1]}"
    writers = {
        name
        for name, service in services.items()
        for volume in service.get("volumes", ())
        if volume.startswith("${INGEST_PROJECT") and volume.endswith(":/project")
    }
    assert writers == {"studio"}


def test_no_password_stands_in_a_file_or_an_environment() -> None:
    for name in FILES:
        for service in _read(name)["services"].values():
            for variable, value in service.get("environment", {}).items():
                secret = any(word in variable for word in ("PASSWORD", "URL", "BROKER", "SECRET"))
                secret = secret and variable not in {"INGEST_UI_URL", "INGEST_SECRETS"}  # of pages; a folder
                assert not secret or (variable.endswith("_FILE") and value.startswith("/run/secrets/"))


def test_the_secrets_script_makes_every_secret_and_keeps_them_when_asked_again(tmp_path: Path) -> None:
    folder = tmp_path / "secrets.d"
    told = subprocess.run([COMPOSE / "secrets", folder, "localhost"], check=True, capture_output=True, text=True).stdout
    assert told.startswith("operator's password: ")
    wanted = {Path(secret["file"]).name for name in FILES for secret in _read(name).get("secrets", {}).values()}
    made = {path.name: path.read_text() for path in folder.iterdir()}
    assert wanted <= set(made)
    assert folder.stat().st_mode & 0o077 == 0
    assert made["ingest_loader_password"].strip() in made["ingest_database_url"]
    again = subprocess.run(
        [COMPOSE / "secrets", folder, "localhost"], check=True, capture_output=True, text=True
    ).stdout
    assert again == ""
    assert {path.name: path.read_text() for path in folder.iterdir()} == made


SCRIPTS = [COMPOSE / "secrets", DEPLOY / "proxy" / "secrets"]


def _made_by(script: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([script, folder, "localhost"], check=False, capture_output=True, text=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.parent.name)
@pytest.mark.parametrize("mode", [0o755, 0o770, 0o711, 0o701, 0o777, 0o2750, 0o700])
def test_a_folder_that_was_there_is_its_owners_only(script: Path, mode: int, tmp_path: Path) -> None:
    folder = tmp_path / "secrets.d"
    folder.mkdir()
    folder.chmod(mode)
    done = _made_by(script, folder)
    assert done.returncode == 0, done.stderr
    assert folder.stat().st_mode & 0o077 == 0
    folder.chmod(mode)
    again = _made_by(script, folder)
    assert again.returncode == 0
    assert folder.stat().st_mode & 0o077 == 0
    assert ("was open to others" in again.stderr) == (mode != 0o700)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.parent.name)
def test_a_folder_of_other_things_is_refused_and_left_alone(script: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("of others")
    (tmp_path / "notes.txt").chmod(0o604)
    for mode in (0o755, 0o750):
        tmp_path.chmod(mode)
        done = _made_by(script, tmp_path)
        assert done.returncode == 1
        assert "notes.txt is no secret of ours" in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
        assert tmp_path.stat().st_mode & 0o777 == mode
    tmp_path.chmod(0o700)
    assert _made_by(script, tmp_path).returncode == 0
    assert (tmp_path / "notes.txt").stat().st_mode & 0o777 == 0o604


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.parent.name)
def test_a_folder_of_another_account_or_a_file_is_refused(script: Path, tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.touch()
    folder.mkdir()
    os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
    assert "is no folder" in _made_by(script, file).stderr
    assert "another account" in _made_by(script, folder).stderr
    assert list(folder.iterdir()) == []


def test_every_file_that_is_mounted_and_every_program_that_is_started_is_there() -> None:
    for name in FILES:
        for service, found in _read(name)["services"].items():
            for volume in found.get("volumes", ()):
                source = volume.partition(":")[0]
                assert not source.startswith(".") or (COMPOSE / source).resolve().exists(), (name, source)
            if service not in SOMEBODY_ELSES and "command" in found:
                assert (Path(sys.executable).parent / found["command"][0]).exists(), (name, service)


def test_the_image_copies_what_is_there_and_lets_in_nothing_else() -> None:
    root = DEPLOY.parent
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = {
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    }
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert copied == {line[1:] for line in ignored if line.startswith("!")}
    assert all((root / path).exists() for path in copied)
    assert ignored[0] == "*"
    assert "USER 10001:10001" in lines
