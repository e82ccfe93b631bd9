"""A number means the same however it is written, and the quick way to know one agrees with phonenumbers."""

from __future__ import annotations

import random
from pathlib import Path

import phonenumbers
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_pipelines.rules.types.phones import _in_e164, _parsed, read_lists, read_numbers
from ingest_pipelines_tests.rules.feeds import accepted, bound_import, codes, frame, validate

_TYPES = (phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.MOBILE)
_EXAMPLES = [
    (region, phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    for region in sorted(phonenumbers.SUPPORTED_REGIONS)
    for kind in _TYPES
    if (number := phonenumbers.example_number_for_type(region, kind))
]
"""Numbers that exist, of every region."""
_CODES = sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)
_BETWEEN = ["", "", " ", "-", ".", "/", "\u00a0", "\u202f", "\u2011", "\u2013", "\u200b", " (", ") ", "  "]


def _spelled(number: str, draw: random.Random) -> str:
    """The same digits with other things between them."""
    digits = "".join(digit + draw.choice(_BETWEEN) for digit in number[1:])
    return draw.choice(["", "tel:", "TEL:", " ", "(", "\u202a", "\t"]) + "+" + draw.choice(["", " "]) + digits


def test_a_number_of_any_country_means_the_same_however_it_is_written() -> None:
    draw = random.Random(7)
    spellings = [(number, _spelled(number, draw)) for _, number in _EXAMPLES for _ in range(3)]
    found = read_numbers(pl.Series([spelling.strip() for _, spelling in spellings]), None)
    assert found.to_list() == [number for number, _ in spellings]


def test_a_national_number_is_the_same_number_in_its_region() -> None:
    for region, number in _EXAMPLES[::4]:
        parsed = phonenumbers.parse(number)
        national = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.NATIONAL)
        digits = "".join(letter for letter in national if letter.isdigit())
        assert read_numbers(pl.Series([national, digits, number]), region).to_list() == [number] * 3, region


@pytest.mark.parametrize("seed", range(3))
def test_what_is_taken_as_it_stands_is_what_phonenumbers_gives_back(seed: int) -> None:
    draw = random.Random(seed)
    texts = [number for _, number in _EXAMPLES]
    for code in [*_CODES, 999, 210]:
        for length in draw.sample(range(1, 16), 4):
            digits = "".join(draw.choice("0123456789") for _ in range(length))
            texts += [f"+{code}{digits}", f"+{code}0{digits[1:]}", f"+{code}1{digits[1:]}", f"+{code}8{digits[1:]}"]
    cells = pl.Series(texts)
    expected = [_parsed(text, None) for text in texts]
    assert read_numbers(cells, None).to_list() == expected
    ready = _in_e164(cells).to_list()
    assert [text for text, stands in zip(texts, ready, strict=True) if stands] == [
        text for text, stands, number in zip(texts, ready, expected, strict=True) if stands and number == text
    ]
    assert sum(ready) > len(_EXAMPLES) * 0.9
    known = [number for number in expected if number]
    assert read_numbers(pl.Series(known), None).to_list() == known


@settings(max_examples=60)
@given(st.lists(st.text("+0123456789 ()-./x;\u00a0\u200b", max_size=18), min_size=1, max_size=6))
def test_punctuation_never_changes_a_number(cells: list[str]) -> None:
    bare = ["".join(letter for letter in cell if letter in "+0123456789x;") for cell in cells]
    for region in (None, "GB", "US"):
        assert read_numbers(pl.Series(cells), region).to_list() == read_numbers(pl.Series(bare), region).to_list()


def test_a_list_holds_the_numbers_that_single_cells_would() -> None:
    draw = random.Random(3)
    numbers = [number for _, number in draw.sample(_EXAMPLES, 60)]
    rows = [numbers[start : start + 3] for start in range(0, 60, 3)]
    cells = pl.Series([";".join(_spelled(number, draw).strip() for number in row) for row in rows])
    assert read_lists(cells, None).to_list() == [list(dict.fromkeys(row)) for row in rows]


def test_a_number_is_one_customer_as_a_key_too(tmp_path: Path) -> None:
    bound = bound_import({"points": {"type": "int"}}, key={"type": "phone"}, duplicates="last")
    keys = [
        "+4402079460018",
        "+44 20 7946 0018",
        "tel:+44-20-7946-0018",
        "+330612345678",
        "+1415555267",
        "+99912345678",
    ]
    validated = validate(bound, tmp_path, frame({"id": keys, "points": ["1"] * 6}))
    assert accepted(validated)["id"].to_list() == ["+442079460018", "+33612345678"]
    assert codes(validated) == {6: ["bad_phone"], 7: ["bad_phone"]}
