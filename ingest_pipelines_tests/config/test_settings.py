"""Where everything is: the environment, the working directory, the demo, in that order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ingest_pipelines.config import demo_home, read_project, read_settings
from ingest_pipelines.config.base import Secret
from ingest_pipelines.config.connections.csv import CsvConnection
from ingest_pipelines.config.connections.sftp import SftpConnection
from ingest_pipelines.config.settings import ADDRESSES, secrets_in_files
from ingest_pipelines.errors import ConfigError, UsageError
from ingest_pipelines_tests.config.projects import RIGHT, write_project


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("INGEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VENDOR_PW", "x")
    monkeypatch.chdir(tmp_path)


def test_ingest_home_is_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_project(tmp_path / "elsewhere", RIGHT)
    monkeypatch.setenv("INGEST_HOME", "elsewhere")
    assert read_settings().home == tmp_path / "elsewhere"


def test_a_working_directory_that_is_a_project_is_the_project(tmp_path: Path) -> None:
    write_project(tmp_path, RIGHT)
    assert read_settings().home == tmp_path


@pytest.mark.parametrize("missing", ["connections.yaml", "databases.yaml"])
def test_a_project_that_lacks_a_file_is_never_taken_for_the_demo(tmp_path: Path, missing: str) -> None:
    write_project(tmp_path, {**RIGHT, missing: None})
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


def test_the_state_lies_with_the_project_that_ingest_home_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = write_project(tmp_path / "project", RIGHT)
    monkeypatch.setenv("INGEST_HOME", str(home))
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        monkeypatch.chdir(tmp_path / folder)
        assert read_settings().state == home / ".ingest"
    monkeypatch.setenv("INGEST_STATE", str(tmp_path / "own"))
    assert read_settings().state == tmp_path / "own"


@pytest.mark.parametrize("home", [demo_home(), Path("here", ".ingest", "demo")], ids=["packaged", "laid out"])
def test_the_demos_state_is_where_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    if home != demo_home():
        write_project(tmp_path / home, RIGHT)
    (tmp_path / "here").mkdir(exist_ok=True)
    monkeypatch.setenv("INGEST_HOME", str(tmp_path / home))
    monkeypatch.chdir(tmp_path / "here")
    assert read_settings().state == tmp_path / "here" / ".ingest"


def test_data_that_an_earlier_version_left_in_the_working_directory_are_never_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, left = tmp_path / "project", tmp_path / ".ingest"
    (left / "postgres" / "data").mkdir(parents=True)
    monkeypatch.setenv("INGEST_HOME", str(home))
    with pytest.raises(ConfigError, match=f"the data of {home} lie in {left}") as refused:
        read_settings()
    assert f"mv '{left}' '{home}/.ingest'" in refused.value.hint
    assert f"export INGEST_STATE='{left}'" in refused.value.hint
    write_project(home, RIGHT)
    write_project(tmp_path, RIGHT)  # then they are of the project here, and nobody asks for them
    assert read_settings().state == home / ".ingest"
    (tmp_path / "connections.yaml").unlink()
    left.rename(home / ".ingest")
    assert read_settings().state == home / ".ingest"


@pytest.mark.parametrize("value", ["soon", "-1", "0", "nan", "inf"])
def test_a_setting_that_is_no_number_is_a_config_error(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("INGEST_LOCK_TIMEOUT", value)
    with pytest.raises(ConfigError, match="INGEST_LOCK_TIMEOUT: expected a number of seconds above 0"):
        read_settings()


@pytest.mark.parametrize("variable", ADDRESSES)
def test_an_address_is_handed_on_in_a_file_of_its_owners(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(variable, "postgresql://a:hunter2@b/c")
    before = dict(os.environ)
    folder = tmp_path / "state" / "secrets"
    settings = read_settings()
    with secrets_in_files(folder):
        assert "hunter2" not in repr(os.environ)
        assert read_settings() == settings
        [file] = folder.iterdir()
        assert (file.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    assert dict(os.environ) == before
    assert list(folder.iterdir()) == []
    with pytest.raises(OSError, match="stop"), secrets_in_files(folder):
        raise OSError("stop")
    assert dict(os.environ) == before


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
    vendor = project.connections["vendor"]
    assert isinstance(vendor, SftpConnection)
    assert vendor.password is not None
    assert vendor.password.reveal() == "hunter2"


@pytest.mark.parametrize("content", [b"pass\xe9", b"pa\0ss"])
def test_a_secret_that_is_no_text_is_told_as_that_and_not_as_a_server_that_does_not_answer(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "secret").write_bytes(content)
    secret = Secret.model_validate({"file": str(tmp_path / "secret")})
    with pytest.raises(ConfigError, match="secret is not UTF-8 text") as refused:
        secret.reveal()
    assert "pa" not in str(refused.value).replace(str(tmp_path), "")


def test_a_missing_home_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        read_project(tmp_path / "nowhere")
    assert "ingest init" in raised.value.hint


def test_a_mistyped_import_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        read_project(write_project(tmp_path, RIGHT)).require("loyalti")
    assert raised.value.hint == "did you mean 'loyalty'?"


def test_a_database_url_may_stand_in_a_file_as_containers_get_their_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "url"
    secret.write_text("postgresql://loader:hunter2@db/crm\n")
    monkeypatch.setenv("INGEST_DATABASE_URL_FILE", str(secret))
    assert read_settings().database_url == "postgresql://loader:hunter2@db/crm"
    monkeypatch.setenv("INGEST_DATABASE_URL", "postgresql://elsewhere")
    with pytest.raises(ConfigError, match="INGEST_DATABASE_URL and INGEST_DATABASE_URL_FILE are both set"):
        read_settings()


@pytest.mark.parametrize("url", ["sqlite:///hunter2", "mysql://u:hunter2@h/d", "hunter2"])
def test_a_storage_of_dagster_that_is_no_postgres_is_a_config_error(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("INGEST_DAGSTER_URL", url)
    with pytest.raises(ConfigError, match="INGEST_DAGSTER_URL: not the URL of a Postgres") as refused:
        read_settings()
    assert "hunter2" not in str(refused.value)


def test_a_secrets_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INGEST_DAGSTER_URL_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"INGEST_DAGSTER_URL_FILE: .*/nowhere cannot be read: No such file"):
        read_settings()


def test_a_shared_folder_holds_spool_and_spill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_SPILL_URI", "file:///shared/in%20gest")
    settings = read_settings()
    assert (settings.spool, settings.spill) == (Path("/shared/in gest/spool"), Path("/shared/in gest/spill"))


def test_a_bucket_leaves_spool_and_spill_on_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INGEST_SPILL_URI", "s3://bucket/prefix?region=eu-west-2")
    settings = read_settings()
    assert settings.remote_spill == "s3://bucket/prefix?region=eu-west-2"
    assert settings.spill == tmp_path / ".ingest" / "spill"


@pytest.mark.parametrize(
    "uri", ["/shared", "file://host/shared", "file:shared", "https://bucket", "s3://", "hdfs://x/y"]
)
def test_a_spill_that_is_neither_folder_nor_bucket_is_a_config_error(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("INGEST_SPILL_URI", uri)
    with pytest.raises(ConfigError, match=r"INGEST_SPILL_URI: .* is neither a folder nor a bucket"):
        read_settings()


def test_credentials_in_the_spills_address_are_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_SPILL_URI", "s3://key:hunter2@bucket/prefix")
    with pytest.raises(ConfigError) as raised:
        read_settings()
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("executor", "problem"),
    [
        ("selery", "there is no executor 'selery'"),
        ("celery", "nor INGEST_SPILL_URI names a"),
        ("k8s", "nor INGEST_SPILL_URI names a"),
    ],
)
def test_an_executor_that_cannot_work_is_a_config_error(
    monkeypatch: pytest.MonkeyPatch, executor: str, problem: str
) -> None:
    monkeypatch.setenv("INGEST_EXECUTOR", executor)
    with pytest.raises(ConfigError, match=problem):
        read_settings()


def test_celery_without_a_broker_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_EXECUTOR", "celery")
    monkeypatch.setenv("INGEST_SPILL_URI", "file:///shared")
    with pytest.raises(ConfigError, match="INGEST_CELERY_BROKER names no broker"):
        read_settings()
    monkeypatch.setenv("INGEST_CELERY_BROKER", "redis://:hunter2@redis/0")
    assert "hunter2" not in repr(read_settings())


@pytest.mark.parametrize("name", ["prod", "Prod EU 2", "kunde-é", ""])
def test_an_environment_has_a_name_of_people(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("INGEST_ENVIRONMENT", name)
    assert read_settings().environment == name


@pytest.mark.parametrize("name", ["a\nb", "x" * 41, "[prod]", "a\x1b[31m"])
def test_an_environment_with_other_letters_is_a_mistake(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("INGEST_ENVIRONMENT", name)
    with pytest.raises(ConfigError, match="INGEST_ENVIRONMENT"):
        read_settings()
