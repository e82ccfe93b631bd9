"""The documents name every command, every option, every key, every type and every rule that there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from ingest_pipelines import errors
from ingest_pipelines.config import (
    connections,
    databases,
    file_format,
    imports,
    notify,
    read_project,
    schedule,
    settings,
)
from ingest_pipelines.config.cleaning import CLEANING
from ingest_pipelines.config.yaml_lines import read_yaml
from ingest_pipelines.rules.codes import CODES
from ingest_pipelines_tests.cli.reference import FILE, commands, reference
from ingest_pipelines_tests.config.projects import write_project


def test_the_command_reference_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == reference(), "run: python -m ingest_pipelines_tests.cli.reference"


DOCS = FILE.parent


@pytest.mark.parametrize(("name", "command"), [(name, command) for _, name, command in commands()])
def test_every_command_and_option_says_what_it_does(name: str, command: object) -> None:
    text = FILE.read_text(encoding="utf-8")
    assert re.search(rf"^### `ingest {re.escape(name)}\b", text, re.MULTILINE)
    for parameter in command.params:  # type: ignore[attr-defined]  # typer's own command
        if parameter.name != "help":
            assert parameter.help, f"{name}: {parameter.name}"


def section(page: str, heading: str) -> str:
    """The text below a heading, up to the next one."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.search(rf"^##+ {re.escape(heading)}$(.*?)(?=^##+ |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no heading {heading}"
    return found[1]


def named(text: str) -> set[str]:
    """Everything that a table's first column names in backticks."""
    first = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name for cell in first for name in re.findall(r"`([^`]+)`", cell)}


def keys_of(model: type[BaseModel]) -> set[str]:
    """The model's keys as YAML spells them, without those that YAML cannot have."""
    return set(model.model_json_schema(by_alias=True)["properties"])


SHARED = {"type", "timeout_seconds", "retries"}
SECTIONS: list[tuple[str, type[BaseModel]]] = [
    ("csv", connections.TYPES["csv"]), ("sftp", connections.TYPES["sftp"]), ("s3", connections.TYPES["s3"]),
    ("gcs", connections.TYPES["gcs"]), ("azure", connections.TYPES["azure"]),
    ("snowflake", connections.TYPES["snowflake"]),
    ("postgresql, mysql, mssql, oracle, hive, clickhouse", connections.TYPES["mysql"]),
    ("A database", databases.Database), ("A resource", databases.Resource), ("An import", imports.Import),
    ("source", imports.SourceOfImport), ("cursor", imports.Cursor), ("window", imports.Window),
    ("format", file_format.Format),
    ("limits", imports.Limits), ("match", imports.Match), ("rejects", imports.RejectLimit), ("shrink", imports.Shrink),
    ("unmatched", imports.Unmatched),
    ("deletes", imports.Deletes), ("receipt", imports.Receipt), ("volume", imports.Volume),
    ("subscriptions", imports.Subscription), ("geo", imports.Geo), ("schedule", schedule.Schedule),
    ("sensor", imports.Sensor), ("notify", notify.Notify),
    ("A group of people", notify.NotifyGroup),
]  # fmt: skip


@pytest.mark.parametrize(("heading", "model"), SECTIONS, ids=[heading for heading, _ in SECTIONS])
def test_every_key_of_the_configuration_is_documented(heading: str, model: type[BaseModel]) -> None:
    shared = SHARED if "timeout_seconds" in model.model_fields else set()
    assert named(section("config.md", heading)) == keys_of(model) - shared
    assert named(section("config.md", "Every connection")) == SHARED


def test_every_key_of_a_field_is_documented() -> None:
    assert named(section("rules.md", "Keys of a field")) == keys_of(databases.FieldRules)


def test_every_key_of_a_column_is_documented() -> None:
    own = keys_of(imports.ColumnMapping) - keys_of(databases.FieldRules)
    assert named(section("config.md", "A column")) == own


def test_every_word_of_cleaning_is_documented_with_its_example() -> None:
    table = section("rules.md", "Cleaning")
    assert named(table) == set(CLEANING)
    for word, (_, before, after) in CLEANING.items():
        [line] = [line for line in table.splitlines() if line.startswith(f"| `{word}` |")]
        assert line.endswith(f"| `{before}` | `{after}` |".encode("unicode_escape").decode())


def test_every_type_is_documented() -> None:
    types = {name.partition("(")[0] for name in named(section("rules.md", "Types"))}
    assert types == set(get_args(databases.FieldType))


def test_every_code_is_documented_with_its_meaning() -> None:
    assert named(section("rules.md", "Codes")) == set(CODES)
    for code, (_, meaning) in CODES.items():
        assert f"| `{code}` | {meaning} |" in section("rules.md", "Codes")


def test_every_error_is_documented_with_its_exit_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d) \| (yes)? *\|", (DOCS / "errors.md").read_text("utf-8"), re.MULTILINE)
    documented = {name: (int(code), retried == "yes") for name, code, retried in rows}
    bases = {errors.IngestError, errors.Unavailable, errors.LoadError}
    known = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.IngestError)]
    assert documented == {each.__name__: (each.exit_code, each.retryable) for each in known if each not in bases}


def test_every_environment_variable_is_documented() -> None:
    read = set(re.findall(r'"((?:INGEST|DAGSTER_HOME)\w*)"', Path(settings.__file__).read_text(encoding="utf-8")))
    assert named(section("config.md", "Environment")) == read


def test_every_yaml_example_reads() -> None:
    for page in sorted(DOCS.glob("*.md")):
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            alternatives = block.splitlines() if block.count("\nschedule:") > 1 else [block]
            assert [read_yaml(text).mistakes for text in alternatives] == [()] * len(alternatives), page


def examples(page: str) -> list[str]:
    """The blocks of YAML on a page."""
    return re.findall(r"^```yaml\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


FORMATS = re.findall(r"`(\{[^`]*\})`(?:,|<| \|)", section("config.md", "format"))


def test_every_example_of_a_format_is_one() -> None:
    described = {
        key for example in FORMATS for key in file_format.Format.model_validate(read_yaml(example).value).given
    }
    assert described == set(file_format.Format.model_fields)


CONNECTIONS, DATABASES, IMPORT, *_PARTS = examples("config.md")
PARTS_OF_IMPORTS = [text for text in [*_PARTS, *examples("rules.md")] if text.startswith(("source:", "columns:"))]


def test_the_first_three_examples_are_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _mistakes(tmp_path, monkeypatch, CONNECTIONS, IMPORT) == []


@pytest.mark.parametrize("part", PARTS_OF_IMPORTS)
def test_every_part_of_an_import_fits_into_the_example_of_one(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(PARTS_OF_IMPORTS) == 6
    others = (
        "  vendor: {type: sftp, host: h, username: u, password: {env: VENDOR_PW}, known_hosts: hosts}\n"
        "  warehouse: {type: postgresql, host: h, database: d, username: u, password: {env: VENDOR_PW}}\n"
    )
    keys = dict(read_yaml(IMPORT).value) | dict(read_yaml(part).value)
    if "after" in keys:
        del keys["schedule"]
    for name in ("points.key", "vendor.asc"):  # where the page says, nothing is on this machine
        (tmp_path / name).write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----\n")
    text = re.sub(r"/(?:run/secrets|project/keys)/", f"{tmp_path}/", yaml.safe_dump(keys, allow_unicode=True))
    assert _mistakes(tmp_path, monkeypatch, CONNECTIONS + others, text) == []


def _mistakes(home: Path, monkeypatch: pytest.MonkeyPatch, connections_yaml: str, text: str) -> list[str]:
    for name in ("VENDOR_PW", "MAIL_SALT", "POINTS_PASSPHRASE"):
        monkeypatch.setenv(name, "s")
    (home / "hosts").write_text("")
    files = {"connections.yaml": connections_yaml, "databases.yaml": DATABASES, "imports/loyalty.yaml": text}
    return list(read_project(write_project(home, files)).mistakes)


def test_every_example_of_a_schedule_is_one() -> None:
    lines = re.findall(r"^schedule: .*", section("config.md", "schedule"), re.MULTILINE)
    assert len(lines) == 6
    for example in lines:
        schedule.Schedule.model_validate(read_yaml(example).value["schedule"])


def test_every_room_on_the_page_of_the_architecture_is_there() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rooms = set(re.findall(r"`([a-z_/]+(?:\.py|/))`", page))
    assert len(rooms) > 20
    package = DOCS.parent / "ingest_pipelines"
    missing = {room for room in rooms if not (package / room).exists()}
    assert missing <= {"guarantees/"}
