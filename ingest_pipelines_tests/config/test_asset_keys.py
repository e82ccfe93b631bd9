"""`after` and `asset_key`: how keys are spelled, and which of them are mistakes."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines.config import read_project
from ingest_pipelines.config.asset_keys import parse_keys
from ingest_pipelines.config.imports import Import
from ingest_pipelines.config.placement import Placement
from ingest_pipelines_tests.config.projects import RIGHT
from ingest_pipelines_tests.json_schema import jsonschema

QUERY = """\
database: customers
source:
  connection: shop_db
  query: SELECT cid, tier FROM marts
{source}columns: {{cid: customer_id, tier: tier}}
{more}"""
PARTS = st.text(st.characters(categories=["L", "N"], include_characters="_-."), min_size=1, max_size=8)


def mistakes(folder: Path, **imports: tuple[str, str]) -> list[str]:
    """What is wrong with a project of these imports, each with lines of its source and of the import."""
    files = {**RIGHT, **{f"imports/{name}.yaml": QUERY.format(source=s, more=m) for name, (s, m) in imports.items()}}
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(read_project(folder).mistakes)


@pytest.fixture(autouse=True)
def vendor_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VENDOR_PW", "x")


@given(st.lists(st.lists(PARTS, min_size=1, max_size=4).map(tuple), min_size=1, max_size=4, unique=True))
def test_every_spelling_of_keys_is_read_as_the_same_keys(keys: list[tuple[str, ...]]) -> None:
    assert parse_keys([list(key) for key in keys]) == tuple(keys)
    for key in keys:
        assert parse_keys(list(key)) == parse_keys("/".join(key)) == (key,)


SPELLINGS: list[tuple[str, str]] = [
    ("[]", "an asset's key is"), ("", "an asset's key is"), ("5", "an asset's key is"),
    ("{dbt: mart}", "an asset's key is"),
    ("[dbt, 7]", "needs quotes"), ("[dbt, true]", "needs quotes"), ("[[dbt, mart], dbt/mart]", "twice"),
    ("[[dbt, mart], [dbt, mart]]", "twice"), ("[dbt, '']", "not empty"), ("dbt//mart", "not empty"),
    ("['dbt ', mart]", "no blanks"), ("[dbt/a, dbt/b]", "[[dbt, a], [dbt, b]]"), ("[[dbt, [mart]]]", "needs quotes"),
]  # fmt: skip


@pytest.mark.parametrize(("spelling", "words"), SPELLINGS)
def test_a_key_that_is_none_is_a_mistake_at_its_line(tmp_path: Path, spelling: str, words: str) -> None:
    [mistake] = mistakes(tmp_path, scores=("", f"after: {spelling}\n"))
    assert mistake.startswith("imports/scores.yaml:6: after: ")
    assert words in mistake


@pytest.mark.parametrize(
    ("source", "more", "words"),
    [
        ("", "after: [customers, loylty]", "there is no import 'loylty' into 'customers'; did you mean 'loyalty'?"),
        (
            "  asset_key: customers/loylty\n",
            "",
            "there is no import 'loylty' into 'customers'; did you mean 'loyalty'?",
        ),
        ("", "after: [customers, scores]", "each of its loads would begin another one, for ever: scores after scores"),
        ("", "after: [[dbt, mart], [table, crm, customers]]", "for ever: scores after scores"),
        ("  asset_key: table/crm/customers\n", "", "scores reads what is made by scores"),
        ("  asset_key: [customers, scores]\n", "", "Dagster takes no circle"),
        ("  asset_key: [dbt, '']\n", "", "not empty"),
    ],
)
def test_a_key_that_cannot_work_says_why(tmp_path: Path, source: str, more: str, words: str) -> None:
    [mistake] = mistakes(tmp_path, scores=(source, f"{more}\n"))
    assert mistake.startswith("imports/scores.yaml:")
    assert words in mistake


@pytest.mark.parametrize(
    ("source", "more"),
    [
        ("  asset_key: [dbt, mart]\n", "after: [dbt, mart]"),
        ("", "after: [customers, loyalty]"),
        ("", "after: [table, marts, customers]"),
        ("  asset_key: dbt/mart\n", "after: [[dbt, mart], [customers, loyalty]]\nschedule: {every: 6h}"),
    ],
)
def test_keys_of_the_teams_assets_and_of_other_imports_are_right(tmp_path: Path, source: str, more: str) -> None:
    assert mistakes(tmp_path, scores=(source, f"{more}\n")) == []


def test_a_key_of_the_projects_own_means_that_asset_wherever_the_project_is_in_dagster(tmp_path: Path) -> None:
    """A key prefix is the code location's, and no file of the project names it."""
    keys = "after: [[customers, loyalty], [dbt, mart], [table, marts, customers]]\n"
    assert mistakes(tmp_path, scores=("", keys), visits=("  asset_key: [customers, loyalty]\n", "")) == []
    project = read_project(tmp_path)
    for prefix in ((), ("crm",), ("crm", "eu")):
        project = project.placed(Placement(prefix))
        own = (*prefix, "customers", "loyalty")
        assert project.imports["scores"].spec.after == (own, ("dbt", "mart"), ("table", "marts", "customers"))
        assert project.imports["visits"].spec.source.asset_key == own


def test_files_are_loaded_when_they_arrive(tmp_path: Path) -> None:
    loyalty = RIGHT["imports/loyalty.yaml"] + "after: [dbt, mart]\n"
    (tmp_path / "imports").mkdir()
    for name, text in {**RIGHT, "imports/loyalty.yaml": loyalty}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    [mistake] = read_project(tmp_path).mistakes
    assert "files are loaded when they arrive" in mistake


@pytest.mark.parametrize("key", ["after: [customers, {}]\n", "  asset_key: [customers, {}]\n"], ids=["after", "asset"])
@pytest.mark.parametrize("order", list(permutations("abc")))
def test_a_circle_of_imports_is_one_mistake_and_stops_one_import(
    tmp_path: Path, order: tuple[str, ...], key: str
) -> None:
    lines = {name: key.format(order[(place + 1) % 3]) for place, name in enumerate(order)}
    imports = {name: (line, "") if "asset_key" in line else ("", line) for name, line in lines.items()}
    [mistake] = mistakes(tmp_path, **imports)
    assert mistake.startswith("imports/c.yaml:")


@pytest.mark.parametrize(
    ("value", "is_right"),
    [
        ("dbt/a", True),
        (["dbt", "a"], True),
        ([["dbt", "a"], ["b"]], True),
        ([], False),
        (5, False),
        ([["a"], 5], False),
    ],
)
def test_an_editor_knows_how_keys_are_spelled(value: object, is_right: bool) -> None:
    spec = yaml.safe_load(QUERY.format(source="", more="")) | {"after": value}
    assert jsonschema.Draft202012Validator(Import.model_json_schema()).is_valid(spec) is is_right
