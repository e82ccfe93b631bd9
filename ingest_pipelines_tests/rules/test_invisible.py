"""No two customers look alike: what nobody sees is no part of a cell, and is not inside a key."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest_pipelines.config.blanks import BLANKS, CLASS, INSIDE_A_KEY, trimmed
from ingest_pipelines.config.databases import Field
from ingest_pipelines.config.file_format import Format
from ingest_pipelines.rules import compile_rules
from ingest_pipelines.rules.types.text import UNSUPPORTED
from ingest_pipelines_tests.rules.feeds import accepted, bound_import, broken, codes, frame, outcomes, rejects, validate

# Each type, a cell of it and its value.
CELLS: dict[str, tuple[Mapping[str, Any], str, Any]] = {
    "string": ({"type": "string"}, "A 1", "A 1"),
    "any string": ({"type": "string", "characters": "any"}, "A\u200b1", "A\u200b1"),
    "int": ({"type": "int"}, "7", 7),
    "decimal": ({"type": "decimal(5,2)"}, "1.50", None),
    "float": ({"type": "float"}, "2.5", 2.5),
    "bool": ({"type": "bool"}, "yes", True),
    "date": ({"type": "date"}, "2001-12-31", None),
    "date by format": ({"type": "date", "format": "%d/%m/%Y"}, "31/12/2001", None),
    "datetime": ({"type": "datetime"}, "2001-12-31T10:00:00Z", None),
    "enum": ({"type": "enum", "options": ["Gold", "Silver"]}, "Gold", "Gold"),
    "one of": ({"type": "string", "one_of": ["Gold"]}, "Gold", "Gold"),
    "object": ({"type": "object"}, '{"a": 1}', '{"a": 1}'),
    "email": ({"type": "email"}, "ann@example.com", "ann@example.com"),
    "phone": ({"type": "phone"}, "+442079460018", "+442079460018"),
    "phones": ({"type": "phones"}, "+442079460018;+442079460019", None),
    "ip": ({"type": "ip"}, "203.0.113.7", "203.0.113.7"),
}
AROUND = st.text(BLANKS, max_size=3)
INVISIBLE = [letter for letter in BLANKS if letter != " "]


@settings(max_examples=60)
@given(st.sampled_from(list(CELLS)), st.lists(st.tuples(AROUND, AROUND), min_size=1, max_size=5))
def test_what_nobody_sees_around_a_cell_is_no_part_of_it(kind: str, around: list[tuple[str, str]]) -> None:
    field, cell, value = CELLS[kind]
    [(bare, found)] = outcomes(field, [cell])
    assert found == []
    assert value is None or bare == value
    assert outcomes(field, [before + cell + after for before, after in around]) == [(bare, [])] * len(around)


@pytest.mark.parametrize("kind", CELLS)
def test_a_cell_of_nothing_else_is_empty(kind: str) -> None:
    field = {**CELLS[kind][0], "required": True}
    blanks = [*BLANKS, BLANKS, " \u200b\t", "\ufeff"]
    assert broken(field, blanks) == {cell: ["required"] for cell in blanks}


CODE_POINTS = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]  # UTF-8 has no surrogates
LETTERS = pl.Series(CODE_POINTS)
NEVER_IN_A_KEY = {"Cc", "Cf", "Co", "Zl", "Zp", "Zs"}
"""Categories that Python and the engine that validates rows know alike; of Cn each has its own version of Unicode."""


def in_set(pattern: str) -> set[str]:
    return set(LETTERS.filter(LETTERS.str.contains(f"[{pattern}]")))


def test_what_is_ignored_at_the_ends_is_what_unicode_calls_blank_or_ignorable() -> None:
    known = in_set(r"\p{White_Space}\p{Default_Ignorable_Code_Point}\x{2800}")
    assert in_set(CLASS) == known
    assert set(BLANKS) == {letter for letter in known if letter < "\U000e0000"}


def test_a_key_holds_no_code_point_of_the_categories_that_nobody_sees() -> None:
    unseen = {letter for letter in CODE_POINTS if unicodedata.category(letter) in NEVER_IN_A_KEY} - {" "}
    unseen |= in_set(r"\p{Cn}\p{Default_Ignorable_Code_Point}") | set("\u2800\ufffc\ufffd")
    assert unseen >= set("\u070f\u06dd\u08e2\u2060\ufe0f\u180b\U000e0100\u3164\ufdd0\ue000")
    refused = in_set(INSIDE_A_KEY)
    assert unseen <= refused
    # What a later Unicode than Python's has made a format character.
    assert {unicodedata.category(letter) for letter in refused - unseen} <= {"Cn"}


@pytest.mark.parametrize("characters", ["basic", "any"])
def test_a_key_may_hold_every_letter_mark_digit_and_sign_of_the_basic_plane(characters: str) -> None:
    refused = in_set(INSIDE_A_KEY) | in_set(UNSUPPORTED)
    letters = [
        letter for letter in CODE_POINTS[:0xF800]
        if unicodedata.category(letter)[0] in "LMNPS" and unicodedata.normalize("NFC", letter) not in refused
    ]  # fmt: skip
    assert len(letters) > 50_000
    rules = compile_rules(bound_import({"f": {"type": "string"}}, key={"type": "string", "characters": characters}))
    _, masks = rules.explained(frame({"id": [f"A{letter}1" for letter in letters], "f": ["x"] * len(letters)}))
    assert not any(mask.any() for mask in masks)


@pytest.mark.parametrize("characters", ["basic", "any"])
def test_a_key_with_an_invisible_character_inside_is_rejected(characters: str) -> None:
    rows = [f"A{letter}1" for letter in [*INVISIBLE, *"\x00\x1b\u070f\u06dd\u08e2\ufffc\ufffd\ue000\ufdd0"]]
    found = broken_keys(rows, {"type": "string", "characters": characters})
    assert found == {key: ["unsupported_character"] for key in rows}
    assert broken_keys(["A 1", "A-1", "Grüße", "я", "顧客", "a\u0301"], {"type": "string"}) == {}


def broken_keys(keys: list[str], key: Mapping[str, Any], **spec: Any) -> dict[str, list[str]]:
    rules = compile_rules(bound_import({"f": {"type": "string"}}, key=key, **spec))
    _, masks = rules.explained(frame({"id": keys, "f": ["x"] * len(keys)}))
    found = {
        cell: [rule.code for rule, mask in zip(rules.rules, masks, strict=True) if mask[row]]
        for row, cell in enumerate(keys)
    }
    return {cell: codes for cell, codes in found.items() if codes}


def test_five_keys_that_look_like_two_are_one_customer_and_a_missing_key(tmp_path: Path) -> None:
    keys = ["A1", "A1 ", "A1\u00a0", "A1\u200b", "\u200b"]
    validated = validate(bound_import({"name": {"type": "string"}}, duplicates="last"), tmp_path,
                       frame({"id": keys, "name": ["a", "b", "c", "d", "e"]}))  # fmt: skip
    assert accepted(validated).select("id", "name").rows() == [("A1", "d")]
    assert codes(validated) == {6: ["missing_key"]}
    assert validated.superseded_rows == 3
    assert rejects(validated)[0]["row"]["id"] == "\u200b"


def test_a_letter_and_its_accent_are_the_letter_with_the_accent(tmp_path: Path) -> None:
    bound = bound_import({"name": {"type": "string"}}, duplicates="last")
    rows = frame({"id": ["Jose\u0301", "Jos\u00e9", "\u212b1", "\u00c51"], "name": ["e\u0301", "b", "c", "d"]})
    validated = validate(bound, tmp_path, rows)
    assert accepted(validated)["id"].to_list() == ["Jos\u00e9", "\u00c51"]


@pytest.mark.parametrize(
    ("spec", "cells"),
    [
        ({"match": {"by": "field", "field": "account"}}, ["A1", "A1\u200b", "\u200bA1 ", "A\u200b1"]),
        ({"match": {"by": "push", "column": "account"}}, ["A1", "A1\u200b", "\u200bA1 ", "A\u200b1"]),
        ({"match": {"by": "channel", "channel": "telegram", "column": "account"}},
         ["A", "A\u00a0", "\u200eA", "A\u2060A"]),
        ({"match": {"by": "email", "column": "account"}}, ["a@b.co", "a@b.co\u200b", "\u00a0A@b.co", "a\u200b@b.co"]),
        ({"match": {"by": "phone", "column": "account"}},
         ["+442079460018", "\u202a+442079460018\u202c", "+4402079460018", "+44x2079460018"]),
        ({"match": {"by": "profile_id", "column": "account"}}, ["7", "7\u00a0", "\ufeff7", "7\u200b7"]),
    ],
)  # fmt: skip
def test_every_way_to_match_sees_the_same_customer(spec: dict[str, Any], cells: list[str], tmp_path: Path) -> None:
    by_field = spec["match"]["by"] == "field"
    fields = {"account": {"type": "string"}} if by_field else {"points": {"type": "int"}}
    columns = {"account": "account"} if by_field else {"points": "points"}
    rows = frame({"account": cells, "points": ["1"] * 4})
    bound = bound_import(fields, columns=columns, mode="update_only", duplicates="last", **spec)
    validated = validate(bound, tmp_path, rows)
    assert (validated.accepted_rows, validated.superseded_rows, validated.rejected_rows) == (1, 2, 1)
    assert set(codes(validated)) == {5}


def test_a_consents_contact_is_trimmed_and_holds_nothing_invisible(tmp_path: Path) -> None:
    bound = bound_import(
        {"name": {"type": "string"}},
        database={"resources": {"news": {"channels": ["push", "email"]}}},
        subscriptions=[
            {"resource": "news", "channel": "push", "contact": "Token", "status_column": "Status"},
            {"resource": "news", "channel": "email", "contact": "Mail", "status": "subscribed"},
        ],
    )
    rows = frame({
        "id": ["a", "b", "c"], "name": ["x"] * 3, "Token": ["T1\u200b", "T\u200b1", "\u200b"],
        "Mail": ["\ufeffx@y.co\u00a0", "", "x@y.co"], "Status": ["subscribed\u00a0", "\u200bsubscribed", ""],
    })  # fmt: skip
    validated = validate(bound, tmp_path, rows)
    assert codes(validated) == {3: ["unsupported_character"]}
    assert accepted(validated).select("column:Token", "column:Mail", "column:Status").rows() == [
        ("T1", "x@y.co", "subscribed"), (None, "x@y.co", None),
    ]  # fmt: skip


def test_cells_of_databases_keep_the_same_rule(tmp_path: Path) -> None:
    bound = bound_import({"name": {"type": "string"}}, duplicates="last")
    rows = frame({"id": pl.Series([b"A1\xc2\xa0", b"A1"]), "name": pl.Series(["x\u200b", "\u00a0"])})
    validated = validate(bound, tmp_path, rows)
    assert accepted(validated).select("id", "name").rows() == [("A1", None)]


@pytest.mark.parametrize("key", ["options", "one_of"])
def test_an_option_that_no_cell_can_be_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match="begins or ends with a blank"):
        Field.model_validate({"type": "enum" if key == "options" else "string", key: ["Gold", "Silver\u00a0"]})


NOTHING = ["NULL", "null", "Null", "\\N", "\\n", "N/A", "n/a", "NaN", "nan", "None", "none", "nil", "NIL", "#N/A",
           "#n/a", "-", "--", " NULL ", "\u00a0N/A\u200b", "NA", "<NA>", "(null)", "#REF!", ".",
           "-nan", "1.#QNAN", "-1.#IND", "#N/A N/A", "#SPILL!", "####", "#########", "\u2014", "\u2212\u2212",
           "...", "??", "(none)", "(blank)", "unknown", "NULL NULL", "'NULL'"]  # fmt: skip


@pytest.mark.parametrize("key", ["string", "int", "email", "phone"])
def test_a_key_that_says_null_is_a_missing_one(key: str) -> None:
    assert broken_keys(NOTHING, {"type": key}) == {cell: ["missing_key"] for cell in NOTHING}


def test_the_reason_is_true_and_says_how_to_have_it_otherwise(tmp_path: Path) -> None:
    bound = bound_import({"name": {"type": "string"}})
    validated = validate(bound, tmp_path, frame({"id": ["NULL", "", "nobody"], "name": ["NULL", "N/A", "-"]}))
    found = [(record["line"], record["code"], record["reason"]) for record in rejects(validated)]
    assert found == [
        (2, "missing_key", "a placeholder such as NULL or N/A, or the name of its column, and rows are matched "
                           "by id; if NULL is a key, write source: {format: {null_values: []}}"),
        (3, "missing_key", "empty, and rows are matched by id"),
    ]  # fmt: skip
    assert accepted(validated)["name"].to_list() == ["-"]


@pytest.mark.parametrize("word", ["NULL", "\\N", " n/a\u00a0", "#REF!"])
def test_of_two_contacts_one_is_a_key_and_two_words_for_nothing_are_none(word: str, tmp_path: Path) -> None:
    bound = bound_import(
        {"email": {"type": "email"}, "phone": {"type": "phone"}},
        columns={"id": "id", "email": "email", "phone": "phone"},
        match="email_or_phone_profile",
    )
    rows = frame({
        "id": list("abcdef"), "email": [word, "", word, word, "a@example.com", "e@example.com"],
        "phone": ["", word, word, "+442079460018", word, ""],
    })  # fmt: skip
    validated = validate(bound, tmp_path, rows)
    # Beside a contact, what says nothing is no address, or no number.
    assert codes(validated) == {
        2: ["missing_key"], 3: ["missing_key"], 4: ["missing_key"], 5: ["bad_email"], 6: ["bad_phone"],
    }  # fmt: skip
    assert {record["reason"] for record in rejects(validated) if record["code"] == "missing_key"} == {
        "a placeholder such as NULL or N/A, or the name of its column, and rows are matched by email and phone; "
        "if NULL is a key, write source: {format: {null_values: []}}"
    }


@pytest.mark.parametrize("key", ["string", "int", "phone"])
def test_a_new_customer_is_not_called_null_whatever_rows_are_matched_by(key: str, tmp_path: Path) -> None:
    mail = {"email": {"type": "email"}}
    columns = {"id": "id", "email": "email"}
    words = [*dict.fromkeys(map(trimmed, NOTHING)), "ID"]
    rows = frame({"id": words, "email": [f"a{n}@example.com" for n in range(len(words))]})
    validated = validate(bound_import(mail, key={"type": key}, columns=columns, match="email"), tmp_path, rows)
    assert codes(validated) == {line: ["missing_key"] for line in range(2, len(words) + 2)}
    assert "customers are told apart by id" in rejects(validated)[0]["reason"]


@pytest.mark.parametrize("channel", ["push", "email", "sms", "telegram"])
def test_nobody_consents_under_the_contact_null(channel: str, tmp_path: Path) -> None:
    bound = bound_import(
        {"name": {"type": "string"}},
        database={"resources": {"news": {"channels": [channel]}}},
        subscriptions=[{"resource": "news", "channel": channel, "contact": "Contact", "status": "subscribed"}],
    )
    rows = frame({"id": ["a", "b", "c"], "name": ["x"] * 3, "Contact": ["NULL", "", "\\N"]})
    validated = validate(bound, tmp_path, rows)
    assert codes(validated) == {2: ["missing_key"], 4: ["missing_key"]}
    assert "consents are told apart by column:Contact" in rejects(validated)[0]["reason"]


@pytest.mark.parametrize("source", [{}, {"format": {"null_values": []}}, {"format": {"null_values": ["x"]}}])
@pytest.mark.parametrize("again", ["id", "ID", "Id", " id ", "\ufeffid", "\u00a0iD\u200b"])
def test_a_second_header_is_no_customer_however_it_is_spelled(source: Any, again: str, tmp_path: Path) -> None:
    for key in ("string", "int", "email", "phone"):
        columns = {"id": "id", "name": "full_name"}
        bound = bound_import({"full_name": {"type": "string"}}, key={"type": key}, columns=columns,
                             source={"connection": "uploads", **source})  # fmt: skip
        validated = validate(bound, tmp_path, frame({"id": [again], "name": ["Full name"]}))
        assert codes(validated) == {2: ["missing_key"]}
    assert broken_keys(["identity", "i", "id1"], {"type": "string"}, source={"connection": "uploads", **source}) == {}


def test_an_import_says_which_texts_are_nothing() -> None:
    source = {"connection": "uploads", "format": {"null_values": []}}
    assert broken_keys(["NULL", "N/A", "-", ""], {"type": "string"}, source=source) == {"": ["missing_key"]}
    source = {"connection": "uploads", "format": {"null_values": ["NULL", "leer"]}}
    assert broken_keys(["NULL", "leer\u00a0", "null", "N/A"], {"type": "string"}, source=source) == {
        "NULL": ["missing_key"], "leer\u00a0": ["missing_key"],
    }  # fmt: skip
    assert outcomes({"type": "int"}, ["NULL", "7", "null"], source=source) == [(None, []), (7, []), (None, ["bad_int"])]


def test_a_text_for_nothing_that_no_cell_can_be_is_refused() -> None:
    with pytest.raises(ValidationError, match="begins or ends with a blank"):
        Format.model_validate({"null_values": ["NULL", " -"]})


def test_typed_keys_have_no_words(tmp_path: Path) -> None:
    bound = bound_import({"name": {"type": "string"}}, key={"type": "int"})
    validated = validate(bound, tmp_path, frame({"id": pl.Series([1, 2, None]), "name": ["a", "b", "c"]}))
    assert codes(validated) == {4: ["missing_key"]}
