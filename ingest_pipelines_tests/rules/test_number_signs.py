"""Numbers with a declared decimal sign and groups: those of the sign are read, all others are rejected."""

from __future__ import annotations

import re
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_pipelines.config.number_signs import (
    OTHER_SIDE,
    SIGNS,
    Negative,
    NumberSigns,
    Percent,
    currency_of,
    negatives_of,
)
from ingest_pipelines.rules.types.numbers import with_point

_SIGNS = st.sampled_from([(",", "."), (",", ""), (",", " "), (",", "\u202f"), (".", ","), (".", "'"), (",", "'")])
_TEXT = st.text(st.sampled_from(list("0123456789.,' +-eE\u202f")), max_size=9)


def _value(text: str, decimal: str, thousands: str) -> float | None:
    """The number, by the grammar: groups of three digits after the first, which begins with no 0; all or none."""
    whole = rf"[1-9][0-9]{{0,2}}(?:{re.escape(thousands)}[0-9]{{3}})+|[0-9]+" if thousands else "[0-9]+"
    number = rf"([+-]?)(?:({whole})(?:{re.escape(decimal)}([0-9]*))?|{re.escape(decimal)}([0-9]+))([eE][+-]?[0-9]+)?"
    match = re.fullmatch(number, text)
    if match is None:
        return None
    sign, digits, after, only, exponent = match.groups()
    digits = (digits or "0").replace(thousands, "") if thousands else digits or "0"
    return float(f"{sign}{digits}.{after or only or '0'}{exponent or ''}")


@given(texts=st.lists(_TEXT, min_size=1, max_size=40), signs=_SIGNS)
def test_a_number_of_other_signs_is_that_number_or_none(texts: list[str], signs: tuple[str, str]) -> None:
    texts = [
        *texts,
        "1.234,5",
        "1,234.5",
        "12.34",
        "1.234.567",
        "1'234",
        "1 234,5",
        "0,5",
        ",5",
        "5,",
        "1,2,3",
        "0.123",
    ]
    read = pl.DataFrame({"n": texts}).select(
        with_point(pl.col("n"), NumberSigns(*signs)).cast(pl.Float64, strict=False).alias("n")
    )
    assert dict(zip(texts, read["n"], strict=True)) == {text: _value(text, *signs) for text in texts}


_GROUPED = st.from_regex("[0-9]{1,3}([.,' \u202f][0-9]{3}){0,2}([.,][0-9]{1,3})?|x", fullmatch=True)


@given(cells=st.lists(_GROUPED, max_size=3), declared=_SIGNS)
def test_no_pair_of_signs_that_reads_the_cells_otherwise_is_left_out(
    cells: list[str], declared: tuple[str, str]
) -> None:
    now = NumberSigns(declared[0], declared[1] or None)

    def read(signs: NumberSigns) -> tuple[float | None, ...]:
        return tuple(_value(cell, signs.decimal, signs.thousands or "") for cell in cells)

    nearest: dict[tuple[float | None, ...], int] = {(None,) * len(cells): 0}
    for signs in now.others(cells):
        nearest[read(signs)] = min(nearest.get(read(signs), 9), signs.differences(now))
    for signs in (NumberSigns(*pair) for pair in SIGNS):
        assert nearest[read(signs)] <= signs.differences(now)


@given(
    numbers=st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=20),
    sign=st.sampled_from([",", ".", " ", "'"]),
)
def test_indian_groups_are_of_two_digits_and_then_one_of_three(numbers: list[int], sign: str) -> None:
    signs = NumberSigns("," if sign == "." else ".", sign, grouping="indian")
    cells = [_indian(number, sign) for number in numbers]
    wrong = [cell for number in numbers if (cell := f"{number:,}".replace(",", sign)) != _indian(number, sign)]
    wrong += [
        f"0{sign}12{sign}345",
        f"01{sign}234",
        f"0{sign}123",
    ]  # no group begins with 0: the last one is a fraction
    read = pl.DataFrame({"n": [*cells, *wrong]}).select(with_point(pl.col("n"), signs).cast(pl.Int64, strict=False))
    assert read.to_series().to_list() == [*numbers, *(None for _ in wrong)]
    assert [signs.whole_number(cell) for cell in cells] == [number if number >= 0 else None for number in numbers]


def _indian(number: int, sign: str) -> str:
    digits, last = f"{abs(number):03}"[:-3], f"{abs(number):03}"[-3:]
    if not digits:
        return str(number)
    pairs = re.findall("..", digits.rjust(len(digits) + len(digits) % 2))
    return "-" * (number < 0) + sign.join([*pairs, last]).strip()


@given(
    numbers=st.lists(st.decimals(-10_000, 10_000, places=3), min_size=1, max_size=20),
    blank=st.sampled_from(["", " ", "\u00a0"]),
    signs=st.sampled_from([(".", None), (",", "."), (".", ",")]),
)
def test_percent_is_the_number_or_its_hundredth_to_the_last_digit(
    numbers: list[Decimal], blank: str, signs: tuple[str, str | None]
) -> None:
    texts = [f"{abs(number):,.3f}" if signs[1] else f"{abs(number):.3f}" for number in numbers]
    texts = ["".join({".": signs[0], ",": signs[1] or ""}.get(letter, letter) for letter in text) for text in texts]
    minus = ["-" * number.is_signed() for number in numbers]
    for percent, factor in (("number", Decimal(1)), ("fraction", Decimal("0.01"))):
        declared = NumberSigns(*signs, negative="parentheses", percent=percent)  # type: ignore[arg-type]
        exact = [number * factor for number in numbers]
        for sign, cells in (
            ("", texts),
            ("%", [f"{text}{blank}%" for text in texts]),
            ("%", [f"%{blank}{text}" for text in texts]),
        ):
            expected = exact if sign else numbers
            assert _decimals([m + cell for m, cell in zip(minus, cells, strict=True)], declared) == expected
            if sign:
                enclosed = [f"({cell})" if m else cell for m, cell in zip(minus, cells, strict=True)]
                assert _decimals(enclosed, declared) == expected


def _decimals(cells: list[str], signs: NumberSigns) -> list[Decimal | None]:
    numbers = with_point(pl.col("n"), signs).cast(pl.Decimal(30, 5), strict=False)
    return pl.DataFrame({"n": cells}).select(numbers).to_series().to_list()


@pytest.mark.parametrize("cell", ["5%%", "%5%", "%", "$5%", "5 % 5", "5 percent", "5\u2030", "5,5%"])
@pytest.mark.parametrize("percent", ["number", "fraction"])
def test_what_is_no_percentage_is_no_number(cell: str, percent: Percent) -> None:
    declared = NumberSigns(currency=("$",), percent=percent)
    assert _decimals([cell, "5%"], declared)[0] is None
    assert _decimals([cell, "5%"], NumberSigns()) == [None, None]
    assert _decimals(["1e2%"], NumberSigns(percent="fraction")) == [None]


@pytest.mark.parametrize("text", ["NULL", "n/a", "abc", "N.A."])
def test_a_word_stays_that_word(text: str) -> None:
    assert pl.DataFrame({"n": [text]}).select(with_point(pl.col("n"), NumberSigns(",", "."))).item() == text


CURRENCIES = st.sampled_from([("€",), ("$",), ("€", "EUR"), ("CHF",), ("R$", "BRL"), ("kr.",), ("Kč",), ("Fr.", "CHF")])


@given(
    numbers=st.lists(st.decimals(-9_999_999, 9_999_999, places=2), min_size=1, max_size=12),
    currency=CURRENCIES,
    blank=st.sampled_from(["", " ", "\u00a0", "\u202f"]),
    signs=st.sampled_from([(".", ""), (".", ","), (",", "."), (",", " "), (".", "'")]),
)
def test_an_amount_is_its_number_wherever_its_currency_is_and_whichever_of_its_signs(
    numbers: list[Decimal], currency: tuple[str, ...], blank: str, signs: tuple[str, str]
) -> None:
    decimal, thousands = signs
    for sign in currency:
        for number in numbers:
            digits = f"{abs(number):,.2f}" if thousands else f"{abs(number):.2f}"
            digits = "".join({".": decimal, ",": thousands}.get(letter, letter) for letter in digits)
            minus = "-" if number.is_signed() else ""
            cells = [
                f"{minus}{sign}{blank}{digits}", f"{sign}{blank}{minus}{digits}", f"{minus}{digits}{blank}{sign}",
                f"{minus}{blank}{sign}{digits}", f"{minus}{digits}",
            ]  # fmt: skip
            assert _amounts(cells, *signs, currency) == [float(number)] * len(cells)


@pytest.mark.parametrize(
    "cell", ["€", "€€5", "€5€", "5 € 5", "$5", "5$", "+€-5", "EUR5", "€ -", "5 €uro", "about €5", "€\n5", "1€5"]
)
def test_what_has_another_currency_or_two_is_no_number(cell: str) -> None:
    assert _amounts([cell, "€5"], ".", "", ("€",)) == [None, 5.0]


def _amounts(
    cells: list[str], decimal: str, thousands: str, currency: tuple[str, ...] | None, negative: Negative | None = None
) -> list[float | None]:
    signs = NumberSigns(decimal, thousands or None, currency, negative)
    numbers = with_point(pl.col("n"), signs).cast(pl.Float64, strict=False)
    return pl.DataFrame({"n": cells}).select(numbers).to_series().to_list()


@pytest.mark.parametrize(
    ("cell", "sign"),
    [("€ 1.234,50", "€"), ("1 234,50 €", "€"), ("$1,234.50", "$"), ("-$5", "$"), ("$-5", "$"), ("R$ 5", "R$"),
     ("US$5", "US$"), ("EUR 5", "EUR"), ("5 kr.", "kr."), ("₹ 5", "₹"), ("5", ""), ("5 kg", ""), ("A5", ""), ("5%", ""),
     ("€5€", ""), ("€", ""), ("", ""), ("12.5 €/kg", ""), ("+44 20", ""), ("XXX 5", "")],
)  # fmt: skip
def test_a_currency_is_known_by_its_sign(cell: str, sign: str) -> None:
    assert currency_of(cell) == sign


@settings(max_examples=10)
@given(
    numbers=st.lists(st.decimals(0, 9_999_999, places=2), min_size=1, max_size=12),
    currency=CURRENCIES,
    signs=st.sampled_from([(".", ""), (".", ","), (",", "."), (",", " "), (".", "'")]),
)
def test_a_negative_number_is_read_as_it_is_declared_and_in_no_other_form(
    numbers: list[Decimal], currency: tuple[str, ...], signs: tuple[str, str]
) -> None:
    decimal, thousands = signs
    sign = currency[0]
    for number in numbers:
        digits = f"{number:,.2f}" if thousands else f"{number:.2f}"
        digits = "".join({".": decimal, ",": thousands}.get(letter, letter) for letter in digits)
        forms: dict[Negative, list[str]] = {
            "parentheses": [f"({digits})", f"({sign}{digits})", f"{sign}({digits})", f"({digits}) {sign}",
                            f"({digits} {sign})", f"( {digits} )"],
            "trailing": [f"{digits}-", f"{digits} -", f"{sign}{digits}-", f"{digits}- {sign}", f"{digits} {sign}-",
                         f"{digits}\u2212"],
            "minus": [f"\u2212{digits}", f"\u2212 {digits}", f"\u2013{digits}", f"\u2212{sign}{digits}",
                      f"{sign}\u2212{digits}", f"{sign} \u2212{digits}", f"- {digits}"],
        }  # fmt: skip
        for form, cells in forms.items():
            other: Negative = "trailing" if form == "parentheses" else "parentheses"
            assert _amounts(cells, *signs, currency, form) == [-float(number)] * len(cells)
            assert _amounts(cells, *signs, currency) == [None] * len(cells)
            assert _amounts(cells, *signs, currency, other) == [None] * len(cells)
            assert {negatives_of(cell) for cell in cells} == {(form,)}
            assert _amounts([f"-{digits}", digits], *signs, None, form) == [-float(number), float(number)]


@pytest.mark.parametrize(("side", "other"), OTHER_SIDE.items())
def test_the_declared_side_of_a_ledger_is_negative_and_the_other_is_not(side: Negative, other: Negative) -> None:
    for mark in (side, side.lower(), side.title()):
        cells = [f"1.50 {mark}", f"1.50{mark}", f"{mark} 1.50", f"{mark}1.50", f"€1.50 {mark}", f"1.50 EUR {mark}"]
        assert {negatives_of(cell) for cell in cells} <= {(other, side), (side, other)}
        assert _amounts(cells, ".", "", ("€", "EUR"), side) == [-1.5] * 6
        assert _amounts(cells, ".", "", ("€", "EUR"), other) == [1.5] * 6
        assert _amounts(cells, ".", "", ("€", "EUR")) == [None] * 6
        assert _amounts(cells, ".", "", ("€", "EUR"), "trailing") == [None] * 6
    assert _amounts(["1.50", "-1.50", "1.50 EUR"], ".", "", ("EUR",), side) == [1.5, -1.5, 1.5]
    wrong = [
        f"-1.50 {side}",
        f"(1.50) {side}",
        f"1.50 {side} {side}",
        f"{side} 1.50 {side}",
        f"1.50 X{side}",
        side,
        "1.50 X",
    ]
    assert _amounts(wrong, ".", "", ("USD",), side) == [None] * len(wrong)
    assert _amounts(["1.50 USD", "USD 1.50"], ".", "", ("USD",), side) == [1.5, 1.5]  # its last letter is no side
    for currency in ("C$", "S$", "D$", "H€"):  # nor is the first letter of a currency
        assert (currency_of(f"{currency}1.50"), negatives_of(f"{currency} 1.50")) == (currency, ())
        assert _amounts([f"{currency}1.50", f"{currency} 1.50"], ".", "", (currency,), side) == [1.5, 1.5]


@pytest.mark.parametrize("negative", ["parentheses", "trailing", "minus", "DR"])
@pytest.mark.parametrize(
    "cell",
    [
        "(-5)",
        "-(5)",
        "((5))",
        "(5",
        "5)",
        "()",
        "-",
        "5--",
        "-5-",
        "+5-",
        "(5)-",
        "5(6)",
        "(5)6",
        "1-2",
        "1e-",
        "(5)(6)",
    ],
)
def test_a_number_is_negative_once_or_it_is_none(cell: str, negative: Negative) -> None:
    assert _amounts([cell, "5"], ".", "", None, negative) == [None, 5.0]
