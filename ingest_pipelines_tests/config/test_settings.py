"""Where everything is: the environment, the working directory, the demo, in that order."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest_pipelines.config import demo_home, read_project, read_settings
from ingest_pipelines.config.connections import CsvConnection
from ingest_pipelines.errors import ConfigError, UsageError
from ingest_pipelines_tests.config.projects import RIGHT, write_project


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("INGEST_HOME", "INGEST_STATE", "INGEST_DATABASE_URL", "INGEST_DAGSTER_URL", "INGEST_LOCK_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VENDOR_PW", "x")
    monkeypatch.chdir(tmp_path)


def test_ingest_home_is_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INGEST_HOME", "elsewhere")
    assert read_settings().home == tmp_path / "elsewhere"


def test_a_working_directory_that_is_a_project_is_the_project(tmp_path: Path) -> None:
    write_project(tmp_path, RIGHT)
    assert read_settings().home == tmp_path


def test_after_the_demo_its_copy_is_the_project(tmp_path: Path) -> None:
    write_project(tmp_path / ".ingest" / "demo", RIGHT)
    assert read_settings().home == tmp_path / ".ingest" / "demo"


def test_without_any_project_it_is_the_packaged_demo() -> None:
    assert read_settings().home == demo_home()


def test_the_state_is_in_the_working_directory(tmp_path: Path) -> None:
    settings = read_settings()
    assert settings.state == tmp_path / ".ingest"
    assert settings.spool.parent == settings.spill.parent == settings.state


@pytest.mark.parametrize("value", ["soon", "-1", "0", "nan", "inf"])
def test_a_setting_that_is_no_number_is_a_config_error(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("INGEST_LOCK_TIMEOUT", value)
    with pytest.raises(ConfigError, match="INGEST_LOCK_TIMEOUT: expected a number of seconds above 0"):
        read_settings()


def test_relative_paths_in_yaml_start_at_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_project(tmp_path / "home", RIGHT)
    monkeypatch.chdir("/")
    connection = read_project(tmp_path / "home").connections["uploads"]
    assert isinstance(connection, CsvConnection)
    assert connection.directory == str(tmp_path / "home" / "uploads")


def test_a_secrets_value_is_never_in_the_models_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENDOR_PW", "hunter2")
    project = read_project(write_project(tmp_path, RIGHT))
    assert "hunter2" not in repr(project)
    assert project.connections["vendor"].password.reveal() == "hunter2"  # type: ignore[union-attr]  # it is the sftp one


def test_a_missing_home_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        read_project(tmp_path / "nowhere")
    assert "ingest init" in raised.value.hint


def test_a_mistyped_import_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        read_project(write_project(tmp_path, RIGHT)).require("loyalti")
    assert raised.value.hint == "did you mean 'loyalty'?"
