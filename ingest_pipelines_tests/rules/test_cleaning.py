"""Cleaning: every word does what its table says, on every cell, in the declared order, and each change is counted."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest_pipelines.config.bound import bind
from ingest_pipelines.config.cleaning import CLEANING, WORDS, Cleaning
from ingest_pipelines.config.connections.csv import CsvConnection
from ingest_pipelines.config.databases import Database
from ingest_pipelines.config.imports import ColumnMapping, Import
from ingest_pipelines.config.yaml_lines import read_yaml
from ingest_pipelines.model import TRIM
from ingest_pipelines.rules import compile_rules
from ingest_pipelines_tests.rules.feeds import accepted, bound_import, codes, frame, rejects, validate

LETTERS = "aB1 \t\u00a0\u200b\ufeffß\u0130é\U0001f600\x07+-.\u4e2d"
INVISIBLE = "\u200b\ufeff"
WHITE = " \t\u00a0"


def strip(cell: str) -> str:
    return cell.strip(WHITE + INVISIBLE)


# The oracle: each word on one cell, in plain Python.
ORACLE: Mapping[str, Callable[[str], str]] = {
    "trim": strip,
    "collapse": lambda cell: re.sub(f"[{WHITE}]+", " ", cell),
    "lower": str.lower,
    "upper": str.upper,
    "digits": lambda cell: "".join(letter for letter in cell if letter in "0123456789"),
    "strip_unsupported": lambda cell: strip(cell.replace("\U0001f600", "").replace("\x07", "")),
    "cut": lambda cell: cell[:5].rstrip(WHITE + INVISIBLE),
}
MAP = {"ab": "Gold", "b": ""}


def expected(cells: list[str | None], words: list[str], more: Mapping[str, Any]) -> tuple[list[str], Counter[str]]:
    """The clean cells, "" where nothing is left, and the changes."""
    counts = Counter(dict.fromkeys(words, 0) | dict.fromkeys(more, 0))
    clean = []
    for raw in cells:
        cell = strip(raw or "")
        if "trim" in words:
            counts["trim"] += cell != (raw or "")
        for word in words:
            after = ORACLE[word](cell)
            counts[word] += after != cell
            cell = after
        if "map" in more and cell:
            counts["map"] += cell in MAP
            cell = MAP.get(cell, cell)
        if "default" in more and not cell:
            counts["default"] += 1
            cell = "Bronze"
        if "hash" in more and cell:
            counts["hash"] += 1
            cell = hashlib.sha256(f"pepper{cell}".encode()).hexdigest()
        clean.append(cell)
    return clean, counts


ORDERS = st.permutations(WORDS).flatmap(
    lambda words: st.integers(0, len(words)).map(lambda count: list(words[:count]))
).filter(lambda words: not {"lower", "upper"} <= set(words))  # fmt: skip
MORE = {"map": MAP, "default": "Bronze", "hash": {"sha256": None, "salt": {"env": "CLEANING_SALT"}}}


@pytest.fixture(autouse=True)
def salt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEANING_SALT", "pepper")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.none() | st.text(LETTERS, max_size=8), min_size=1, max_size=6),
    ORDERS,
    st.sets(st.sampled_from(list(MORE))),
    st.booleans(),
)
def test_words_in_any_order_do_to_each_cell_what_they_say_and_count_it(
    cells: list[str | None], words: list[str], keys: set[str], trimmed: bool
) -> None:
    more = {key: MORE[key] for key in MORE if key in keys}
    limit = {} if "hash" in more else {"max_length": 5}
    if "hash" in more:
        words = [word for word in words if word != "cut"]
    mapping = {"field": "f", "clean": words, **more}
    bound = bound_import({"f": {"type": "string", "characters": "any", **limit}} if "strip_unsupported" not in words
                         else {"f": {"type": "string", **limit}}, columns={"id": "id", "F": mapping})  # fmt: skip
    rules = compile_rules(bound)
    rows = frame({"id": [f"C{n}" for n in range(len(cells))], "F": cells})
    if trimmed and all(cell is None or cell == strip(cell) for cell in cells):
        rows = rows.with_columns(pl.lit(False).alias(TRIM))
    changes = rules.no_changes()
    found = rules.validated(rows, changes)["f"].to_list()
    clean, counts = expected(cells, words, more)
    assert [cell or "" for cell in found] == clean
    assert {word: count for (_, word), count in changes.items()} == dict(counts)
    assert rules.cleaned(rows)["id"].to_list() == rows["id"].to_list()


@pytest.mark.parametrize("word", [word for word in CLEANING if word != "hash"])
def test_the_example_of_each_word_is_true(word: str) -> None:
    _, before, after = CLEANING[word]
    cell, _, keys = before.partition(", ")
    mapping = {"field": "f", **({"clean": [word]} if word in WORDS else {})}
    rules_of_field: dict[str, Any] = {"type": "string"}
    for key, value in (read_yaml(f"{{{keys}}}").value or {}).items() if keys else ():
        (rules_of_field if key == "max_length" else mapping)[key] = value
    bound = bound_import({"f": rules_of_field}, columns={"id": "id", "F": mapping})
    found = compile_rules(bound).validated(frame({"id": ["a"], "F": [cell[1:-1]]}))["f"].to_list()
    assert found == [after[1:-1]]


def test_every_type_is_cast_from_the_clean_cell_and_rejects_keep_the_raw_one(tmp_path: Path) -> None:
    bound = bound_import(
        {
            "n": {"type": "int"}, "b": {"type": "bool"}, "d": {"type": "date"},
            "tier": {"type": "enum", "options": ["Gold"]}, "mail": {"type": "email"}, "origin": {"type": "string"},
        },
        key={"type": "string", "max_length": 9},
        columns={
            "CID": {"field": "id", "clean": ["strip_unsupported", "upper"]},
            "N": {"field": "n", "clean": ["digits"]}, "B": {"field": "b", "map": {"oui": True, "non": False}},
            "D": {"field": "d", "default": "2001-12-31"},
            "T": {"field": "tier", "clean": ["lower"], "map": {"gold": "Gold"}},
            "M": {"field": "mail", "clean": ["lower"]}, "O": {"field": "origin", "constant": "tills"},
        },
        duplicates="last", rejects={"unlimited": True},
    )  # fmt: skip
    rows = frame({
        "CID": ["a1", "A\u200b1", "c", "d"], "N": ["1,234 EUR", "7", "-", "1"], "B": ["oui", "non", "", "peut-être"],
        "D": ["", "2020-02-29", "", "x"], "T": ["GOLD", "", "gold", "Silver"], "M": ["Ann@Example.COM", "", "", "no"],
    })  # fmt: skip
    validated = validate(bound, tmp_path, rows)
    values = accepted(validated).select("id", "n", "b", "tier", "mail", "origin")
    assert values.rows() == [("A1", 7, False, None, None, "tills"), ("C", None, None, "Gold", None, "tills")]
    assert accepted(validated)["d"].cast(pl.String).to_list() == ["2020-02-29", "2001-12-31"]
    assert (validated.read, validated.superseded_rows, validated.rejected_rows) == (4, 1, 1)
    assert set(codes(validated)[5]) == {"bad_bool", "bad_date", "bad_enum", "bad_email"}
    assert rejects(validated)[0]["row"] == {
        "CID": "d", "N": "1", "B": "peut-être", "D": "x", "T": "Silver", "M": "no",
    }  # fmt: skip
    assert validated.cleaned == {
        "id": {"strip_unsupported": 1, "upper": 3}, "n": {"digits": 2}, "b": {"map": 2}, "d": {"default": 2},
        "tier": {"lower": 2, "map": 2}, "mail": {"lower": 1},
    }  # fmt: skip


def test_null_values_are_empty_cells_of_typed_columns_too(tmp_path: Path) -> None:
    source = {"connection": "uploads", "format": {"type": "parquet", "null_values": ["-1", "false", "1.5"]}}
    fields = {
        "points": {"type": "int"},
        "ratio": {"type": "float"},
        "yes": {"type": "bool"},
        "note": {"type": "string"},
    }
    columns: dict[str, list[str] | pl.Series] = {
        "id": ["a", "b", "c"], "points": pl.Series([-1, 1, None]), "ratio": pl.Series([1.5, 2.5, None]),
        "yes": pl.Series([False, True, None]), "note": pl.Series([-1, 5, None]),
    }  # fmt: skip
    validated = validate(bound_import(fields, source=source), tmp_path / "spill", frame(columns))
    assert accepted(validated).drop("_line").rows() == [
        ("a", None, None, None, None), ("b", 1, 2.5, True, "5"), ("c", None, None, None, None),
    ]  # fmt: skip


def test_what_null_values_say_is_empty_before_a_cell_is_cleaned_and_not_after_it() -> None:
    bound = bound_import(
        {"f": {"type": "string"}}, columns={"id": "id", "F": {"field": "f", "clean": ["lower"], "map": {"x": "n/a"}}},
        source={"connection": "uploads", "format": {"null_values": ["n/a", "N/A"]}},
    )  # fmt: skip
    found = compile_rules(bound).validated(frame({"id": ["a", "b", "c"], "F": ["N/A", " n/a ", "X"]}))
    assert found["f"].to_list() == [None, None, "n/a"]


def test_numbers_with_signs_of_their_own_are_mapped_and_defaulted_as_the_yaml_writes_them() -> None:
    mapping = {"field": "f", "clean": ["collapse"], "map": {"1234.5": "1.5"}, "default": "0.25"}
    bound = bound_import(
        {"f": {"type": "float"}}, columns={"id": "id", "F": mapping},
        source={"connection": "uploads", "format": {"decimal": ",", "thousands": "."}},
    )  # fmt: skip
    rules = compile_rules(bound)
    changes = rules.no_changes()
    found = rules.validated(frame({"id": list("abcd"), "F": ["1.234,5", "", "2,5", "1.5"]}), changes)
    assert found["f"].to_list() == [1.5, 0.25, 2.5, None]
    assert dict(changes) == {("f", "collapse"): 0, ("f", "map"): 1, ("f", "default"): 1}


def test_cells_of_other_types_are_cleaned_as_the_text_they_are() -> None:
    bound = bound_import({"f": {"type": "string"}}, columns={"id": "id", "F": {"field": "f", "map": {"3": "three"}}})
    rows = frame({"id": ["a", "b", "c"], "F": pl.Series([3.0, 2.5, None])})
    assert compile_rules(bound).validated(rows)["f"].to_list() == ["three", "2.5", None]


def test_an_import_without_cleaning_takes_its_frames_as_they_are() -> None:
    rules = compile_rules(bound_import({"f": {"type": "string"}}))
    rows = frame({"id": ["a"], "f": ["x"]})
    assert rules.cleanings == ()
    assert rules.cleaned(rows) is rows


def mistakes(mapping: dict[str, Any], field: dict[str, Any], *, name: str = "f", **spec: Any) -> list[str]:
    database = Database.model_validate({
        "table": "c", "key": "id", "fields": {"id": {"type": "string"}, **({name: field} if name != "id" else {})},
        "resources": {"news": {"channels": ["push"]}},
    })  # fmt: skip
    columns = {"F": {"field": name, **mapping}} | ({} if name == "id" else {"id": "id"})
    wanted = Import.model_validate({"database": "d", "source": {"connection": "u"}, "columns": columns, **spec})
    uploads = CsvConnection.model_validate({"type": "csv", "directory": "u"})
    return [problem for _, problem in bind("feed", wanted, {"u": uploads}, {"d": database}, {})[1]]


TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("mapping", "field", "says"),
    [
        ({"clean": ["cut"]}, {"type": "int"}, "columns.F.clean: cut goes with type string, not int"),
        ({"hash": {"sha256": None}}, {"type": "int"}, "columns.F.hash: needs type string and room for 64 characters"),
        ({"hash": {"sha256": None}}, {**TEXT, "max_length": 63}, "columns.F.hash: needs type string and room for"),
        ({"default": "x"}, {"type": "int"}, "columns.F.default: 'x' is no int"),
        ({"constant": "x"}, {"type": "bool"}, "columns.F.constant: 'x' is no bool"),
        ({"map": {"a": "x"}}, {"type": "int"}, "columns.F.map.a: 'x' is no int"),
        ({"constant": "x", "also": ["G"]}, TEXT, "columns.F.also: the column is not read from the file"),
    ],
)
def test_cleaning_that_a_field_cannot_take_is_a_mistake(
    mapping: dict[str, Any], field: dict[str, Any], says: str
) -> None:
    [found] = mistakes(mapping, field)
    assert found.startswith(says)


@pytest.mark.parametrize("mapping", [{"default": "x"}, {"constant": "x"}, {"clean": ["cut"]}])
def test_nothing_makes_one_customer_of_two(mapping: dict[str, Any]) -> None:
    consent = {"resource": "news", "channel": "push", "contact": "F", "status": "subscribed"}
    assert any("some would become one" in found for found in mistakes(mapping, TEXT, name="id"))
    assert any("some would" in found for found in mistakes(mapping, TEXT, match={"by": "field", "field": "f"}))
    assert any("some would become one" in found for found in mistakes(mapping, TEXT, subscriptions=[consent]))
    assert mistakes(mapping, TEXT) == []


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"clean": ["trim", "trim"]}, "twice"),
        ({"clean": ["lower", "upper"]}, "undo each other"),
        ({"clean": ["strip"]}, "trim"),
        ({"map": {" a": "b"}}, "no cell is ' a'"),
        ({"map": {"": "b"}}, "for empty cells: default"),
        ({"default": ""}, "is empty"),
        ({"default": 1.5}, "string"),
        ({"constant": "a", "clean": ["trim"]}, "goes with no clean"),
        ({"hash": {"md5": None}}, "md5"),
        ({"hash": {"sha256": None, "salt": "pepper"}}, "a literal in a secret slot"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(says)):
        ColumnMapping.model_validate({"field": "f", **keys})


def test_yaml_writes_a_hash_as_the_docs_do() -> None:
    keys = read_yaml("{field: f, map: {1: true, ja: 2}, hash: {sha256, salt: {env: CLEANING_SALT}}}").value
    cleaning = ColumnMapping.model_validate(keys).cleaning
    assert isinstance(cleaning, Cleaning)
    assert cleaning.words == ("map", "hash")
    assert cleaning.map == {"1": "true", "ja": "2"}
    assert cleaning.hash is not None
    assert cleaning.hash.salt is not None
