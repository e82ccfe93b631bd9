"""Numbers with a declared decimal sign and groups: those of the sign are read, all others are rejected."""

from __future__ import annotations

import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest_pipelines.rules.types.numbers import with_point

_SIGNS = st.sampled_from([(",", "."), (",", ""), (",", " "), (",", "\u202f"), (".", ","), (".", "'"), (",", "'")])
_TEXT = st.text(st.sampled_from(list("0123456789.,' +-eE\u202f")), max_size=9)


def _value(text: str, decimal: str, thousands: str) -> float | None:
    """The number, by the grammar: groups of three digits after the first, all or none."""
    whole = rf"[0-9]{{1,3}}(?:{re.escape(thousands)}[0-9]{{3}})+|[0-9]+" if thousands else "[0-9]+"
    number = rf"([+-]?)(?:({whole})(?:{re.escape(decimal)}([0-9]*))?|{re.escape(decimal)}([0-9]+))([eE][+-]?[0-9]+)?"
    match = re.fullmatch(number, text)
    if match is None:
        return None
    sign, digits, after, only, exponent = match.groups()
    digits = (digits or "0").replace(thousands, "") if thousands else digits or "0"
    return float(f"{sign}{digits}.{after or only or '0'}{exponent or ''}")


@given(texts=st.lists(_TEXT, min_size=1, max_size=40), signs=_SIGNS)
def test_a_number_of_other_signs_is_that_number_or_none(texts: list[str], signs: tuple[str, str]) -> None:
    texts = [*texts, "1.234,5", "1,234.5", "12.34", "1.234.567", "1'234", "1 234,5", "0,5", ",5", "5,", "1,2,3"]
    read = pl.DataFrame({"n": texts}).select(with_point(pl.col("n"), *signs).cast(pl.Float64, strict=False).alias("n"))
    assert dict(zip(texts, read["n"], strict=True)) == {text: _value(text, *signs) for text in texts}


@pytest.mark.parametrize("text", ["NULL", "n/a", "abc", "N.A."])
def test_a_word_stays_that_word(text: str) -> None:
    assert pl.DataFrame({"n": [text]}).select(with_point(pl.col("n"), ",", ".")).item() == text
