from __future__ import annotations

import unicodedata

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_pipelines.config.blanks import trimmed
from ingest_pipelines_tests.rules.feeds import broken, outcomes, values

STRING = {"type": "string"}
ANY = {"type": "string", "characters": "any"}
TIER = {"type": "enum", "options": ["Bronze", "Silver", "Gold", "n/a", "100", "Très bon"]}

TEXTS = [
    "a", "a  a", "007", "1e5", "NULL", "null", "N/A", "true", "2001-12-31", "a\tb", "a\nb", "a\r\nb", "a,b",
    'a"b', "a'b", "a\\b", "=1+1", "@x", "é", "e\u0301", "ß", "Ω", "Жанна", "李小龍", "가나다", "محمد", "שלום",
    "می\u200cخواهم", "क्\u200dष", "a\u200eb\u200fc", "a\u200bb", "a\u00a0b", "a\ufeffb", "©", "®", "™", "€", "→", "★",
    "✓", "½", "№", "①", "ﬁ", "\ufffd", "\ue000", "0", "-", "‘quoted’", "…", "㊗",
]  # fmt: skip
UNSUPPORTED = {
    "nul": "a\x00b", "bell": "a\x07b", "backspace": "\x08", "vertical tab": "a\x0bb", "form feed": "a\x0cb",
    "escape": "\x1b[31m", "unit separator": "\x1f", "delete": "\x7f", "next line": "a\x85b",
    "cp1252 read as latin-1": "\x93quoted\x94", "grinning face": "😀", "text and emoji": "hello 😀",
    "astral letter": "𝒜", "astral han": "𠮷", "flag": "🇬🇧",
    "family": "👨\u200d👩",
    "skin tone": "👍🏽", "heart": "❤",
    "heart with style": "❤\ufe0f", "sun": "☀", "smiling face": "☺", "star": "⭐", "watch": "⌚", "hourglass": "⏳",
    "tick box": "✅", "cross": "❌", "scissors": "✂", "aeroplane": "✈", "telephone": "☎", "umbrella": "☔",
    "zodiac": "♈",
    "chess pawn": "♟", "high voltage": "⚡", "snowman": "⛄", "church": "⛪", "sparkles": "✨", "heavy plus": "➕",
    "keycap": "1\ufe0f\u20e3", "copyright as emoji": "©\ufe0f!", "right-to-left override": "a\u202eb",
    "embedding": "a\u202ab\u202c", "isolate": "a\u2066b\u2069",
}  # fmt: skip


def test_a_string_is_kept_as_it_stands() -> None:
    assert outcomes(STRING, TEXTS) == [(text, []) for text in TEXTS]


@pytest.mark.parametrize("hazard", UNSUPPORTED)
def test_an_unsupported_character_is_rejected(hazard: str) -> None:
    assert broken(STRING, [UNSUPPORTED[hazard]]) == {UNSUPPORTED[hazard]: ["unsupported_character"]}


def test_characters_any_refuses_only_what_no_column_can_hold() -> None:
    assert broken(ANY, list(UNSUPPORTED.values())) == {
        text: ["unsupported_character"] if "\x00" in text else [] for text in UNSUPPORTED.values()
    }


def test_a_quoted_empty_string_is_empty() -> None:
    assert outcomes(STRING, ["", None]) == [(None, []), (None, [])]


def test_a_string_has_at_most_its_length_in_characters() -> None:
    five = {"type": "string", "max_length": 5}
    assert broken(five, ["abcde", "éüßñç", "李小龍李小", "abcdef", "李小龍李小龍"]) == {
        "abcde": [], "éüßñç": [], "李小龍李小": [], "abcdef": ["too_long"], "李小龍李小龍": ["too_long"],
    }  # fmt: skip


def test_the_ceiling_is_8000_in_latin_1_and_4000_beyond() -> None:
    cells = ["é" * 8000, "é" * 8001, "Ω" * 4000, "Ω" * 4001, "a" * 7999 + "Ω", "a" * 3999 + "€", "a" * 4000 + "€"]
    assert [codes for _, codes in outcomes(STRING, cells)] == [
        [],
        ["too_long"],
        [],
        ["too_long"],
        ["too_long"],
        [],
        ["too_long"],
    ]
    # max_length does not lift it
    wide = {"type": "string", "max_length": 8000}
    assert [codes for _, codes in outcomes(wide, cells)][:4] == [[], ["too_long"], [], ["too_long"]]


def test_bytes_that_are_no_text_are_rejected() -> None:
    cells = pl.Series([b"caf\xc3\xa9", b"caf\xe9", b"\xff\xfe", None])
    assert [codes or value for value, codes in outcomes(STRING, cells)] == [
        "café", ["unsupported_character"], ["unsupported_character"], None,
    ]  # fmt: skip
    assert [codes or value for value, codes in outcomes(ANY, cells)][1] == ["unsupported_character"]


ENUMS = {
    "Bronze": "Bronze", "Silver": "Silver", "Gold": "Gold", "n/a": "n/a", "Très bon": "Très bon", " Gold": "Gold",
    "Gold ": "Gold", "1": "Bronze", "2": "Silver", "3": "Gold", "4": "n/a", "5": "100", "6": "Très bon",
    "01": "Bronze", "006": "Très bon", " 3 ": "Gold", "0": None, "00": None, " 0 ": None,
}  # fmt: skip
NOT_ENUMS = [
    "bronze", "BRONZE", "Bronz", "Bronze!", "Gold,Silver", "Gold;Silver", "7", "8", "10", "99", "100", "0100", "-1",
    "+1", "1.0", "1e0", "1,0", "Tres bon", "Très  bon", "N/A", "null", "NULL", "none", "Platinum", "\u0661", "\uff11",
    "x", "?", "[Gold]", "'Gold'", "Go\tld", "Bro nze", "0x1", "9223372036854775808",
    "99999999999999999999999",
]  # fmt: skip


def test_an_enum_is_an_option_or_its_index() -> None:
    assert values(TIER, list(ENUMS)) == ENUMS


def test_what_is_neither_option_nor_index_is_rejected() -> None:
    assert broken(TIER, NOT_ENUMS) == {cell: ["bad_enum"] for cell in NOT_ENUMS}


def test_an_option_of_digits_is_reached_by_its_index_only() -> None:
    sizes = {"type": "enum", "options": ["100", "200"]}
    assert values(sizes, ["1", "2", "100", "200"]) == {"1": "100", "2": "200", "100": ["bad_enum"], "200": ["bad_enum"]}


def test_a_required_enum_must_be_selected() -> None:
    assert broken({**TIER, "required": True}, ["0", "1", "7", None]) == {
        "0": ["required"], "1": [], "7": ["bad_enum"], None: ["required"],
    }  # fmt: skip


def test_a_typed_enum_is_an_index() -> None:
    assert outcomes(TIER, pl.Series([0, 3, 7])) == [(None, []), ("Gold", []), (None, ["bad_enum"])]
    assert outcomes(TIER, pl.Series([3.0])) == [("Gold", [])]


def test_an_emoji_in_an_enum_breaks_two_rules() -> None:
    assert broken(TIER, ["Gold😀"]) == {"Gold😀": ["bad_enum", "unsupported_character"]}


BASIC = st.characters(exclude_categories=["Cs", "Cc", "Co", "Cn"], max_codepoint=0x22FF)


@settings(max_examples=100)
@given(st.lists(st.text(BASIC, min_size=1, max_size=30).map(trimmed).filter(bool), min_size=1))
def test_every_text_of_letters_and_marks_survives(texts: list[str]) -> None:
    direction = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u20e3")
    expected = [[] if not direction & set(text) else ["unsupported_character"] for text in texts]
    assert outcomes(STRING, texts) == list(zip(texts, expected, strict=True))


@settings(max_examples=100)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_a_control_or_astral_character_never_passes(text: str) -> None:
    [(_, codes)] = outcomes(STRING, [f"a{text}a"])
    refused = any(ord(c) > 0xFFFF or (unicodedata.category(c) == "Cc" and c not in "\t\n\r") for c in text)
    if refused:
        assert codes == ["unsupported_character"]


@settings(max_examples=100)
@given(st.lists(st.sampled_from(TIER["options"]), min_size=1))
def test_every_option_survives_as_name_and_as_index(options: list[str]) -> None:
    names = [option if option != "100" else "5" for option in options]
    indexes = [str(TIER["options"].index(option) + 1) for option in options]
    assert outcomes(TIER, names) == outcomes(TIER, indexes) == [(option, []) for option in options]
