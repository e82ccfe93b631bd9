from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_pipelines_tests.rules.feeds import broken, outcomes

OBJECT, OBJECTS, ARRAY = ({"type": name} for name in ("object", "objects", "array"))

IN_OBJECT = [
    '{}', '{ }', '{"a":1}', '{"a": 1}', '{"a":-1}', '{"a":1.10}', '{"a":1e5}', '{"a":1E-5}',
    '{"a":12345678901234567890123}', '{"a":0}', '{"a":true}', '{"a":false}', '{"a":null}', '{"a":""}', '{"a":"b"}',
    '{"a":"\\""}', '{"a":"\\\\"}', '{"a":"\\n\\t"}', '{"a":"\\u00e9"}', '{"a":"é"}', '{"é":"ß"}', '{"a":[]}',
    '{"a":[1,2,[3]]}', '{"a":{"b":{"c":{}}}}', '{"a":1,"b":2}', '{"a":1,"a":2}', '{"":1}', '{"a":\n1}',
    '{"a":"\\/"}', '{"a":"\\\\u0000"}', '{"field1": 123, "field2": {"subfield": false}, "field3": "abc"}', '{"a":" "}',
    '{"a":"李"}',
]  # fmt: skip
NO_JSON = [
    "", '{', '}', '{"a"}', '{"a":}', '{"a":1,}', '{,}', "{'a':1}", '{a:1}', '{"a":1}}', '{"a":1}{"b":2}', '{"a":1} x',
    '{"a":NaN}', '{"a":Infinity}', '{"a":-Infinity}', '{"a":01}', '{"a":1.}', '{"a":.5}', '{"a":+1}', '{"a":1e}',
    '{"a":0x1}', '{"a":True}', '{"a":None}', '{"a":undefined}', '{"a":"b}', '{"a":"\n"}', '{"a":"\t"}', '{"a":"\\x"}',
    '{"a":"\\u12"}', '{"a":"\\ud800"}', '{"a":"\\udc00\\ud800"}', '{"\\ud800":1}', '{"a":1e999999999}', '{"a":/*c*/1}',
    '//c\n{}', '{"a":1;"b":2}', '{""a"":1}', '{\ufeff}', "nothing",
]  # fmt: skip
OTHER_SHAPES = ["1", '"a"', "true", "null", '"{}"']
LISTS_OF_OBJECTS = [
    "[]", "[ ]", "[{}]", '[{"a":1},{"b":[2]}]', '[{"field1": 123, "field2": {"subfield": false}}]', " [{}] ",
]  # fmt: skip
OTHER_LISTS = ["[1]", '["a"]', "[null]", "[[]]", "[{},1]", "[[{}]]", "[true,false]", "[1.10,2e5]", '["\\u00e9"]']


def test_an_object_is_kept_as_it_was_written() -> None:
    assert outcomes(OBJECT, IN_OBJECT) == [(text.strip(" "), []) for text in IN_OBJECT]


def test_what_is_not_json_is_rejected_in_every_shape() -> None:
    for field, wrap in ((OBJECT, "{}"), (ARRAY, "[{}]"), (OBJECTS, "[{}]")):
        cells = [text if wrap == "{}" else f"[{text}]" for text in NO_JSON[1:]]
        assert broken(field, cells) == {cell: ["bad_json"] for cell in cells}


def test_each_shape_takes_its_own_only() -> None:
    assert set(map(str, broken(OBJECT, OTHER_SHAPES + LISTS_OF_OBJECTS + OTHER_LISTS).values())) == {"['bad_json']"}
    assert set(map(str, broken(ARRAY, LISTS_OF_OBJECTS + OTHER_LISTS).values())) == {"[]"}
    assert set(map(str, broken(ARRAY, OTHER_SHAPES + IN_OBJECT).values())) == {"['bad_json']"}
    assert set(map(str, broken(OBJECTS, LISTS_OF_OBJECTS).values())) == {"[]"}
    assert set(map(str, broken(OBJECTS, OTHER_SHAPES + OTHER_LISTS + IN_OBJECT).values())) == {"['bad_json']"}


def test_a_document_that_is_too_deep_is_rejected() -> None:
    assert [codes for _, codes in outcomes(ARRAY, ["[" * 100_000 + "]" * 100_000])] == [["bad_json"]]


ESCAPED = [
    '{"a":"😀"}', '{"a":"\\ud83d\\ude00"}', '{"a":"\\u0000"}', '{"a":"\\u0001"}', '{"a":"\\b"}', '{"😀":1}',
    '{"\\ud83d\\ude00":1}', '{"a":["x\\u001b"]}',
]  # fmt: skip


@pytest.mark.parametrize("text", ESCAPED)
def test_an_escaped_character_is_still_that_character(text: str) -> None:
    assert broken(OBJECT, [text]) == {text: ["unsupported_character"]}


def test_characters_any_still_refuses_nul() -> None:
    free = {**OBJECT, "characters": "any"}
    assert broken(free, ['{"a":"\\ud83d\\ude00"}', '{"a":"\\u0000"}', '{"a":"\\\\u0000"}']) == {
        '{"a":"\\ud83d\\ude00"}': [], '{"a":"\\u0000"}': ["unsupported_character"], '{"a":"\\\\u0000"}': [],
    }  # fmt: skip


def test_typed_documents_keep_the_same_rules() -> None:
    structs = pl.Series([{"a": 1, "b": "x"}, None])
    assert outcomes(OBJECT, structs) == [('{"a":1,"b":"x"}', []), (None, [])]
    lists = pl.Series([[1, 2], [], None])
    assert outcomes(ARRAY, lists) == [("[1,2]", []), ("[]", []), (None, [])]
    assert [codes for _, codes in outcomes(OBJECTS, lists)] == [["bad_json"], [], []]


NAMES = st.text(st.sampled_from('ab_é/\\" '), max_size=4)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.sampled_from('aZ0é李\\"\n\t/ {}[],:'), max_size=8)
)
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner), max_leaves=10)


@settings(max_examples=40)
@given(st.lists(st.dictionaries(NAMES, TREES), min_size=1, max_size=5), st.booleans())
def test_every_document_survives_its_text(documents: list[dict[str, Any]], ascii_only: bool) -> None:
    found = outcomes(OBJECT, [json.dumps(one, ensure_ascii=ascii_only) for one in documents])
    assert [(json.loads(text), codes) for text, codes in found] == [(one, []) for one in documents]
