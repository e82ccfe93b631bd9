from __future__ import annotations

from decimal import Decimal

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_pipelines_tests.rules.feeds import broken, outcomes, values

INT = {"type": "int"}
MONEY = {"type": "decimal(12,2)"}
FLOAT = {"type": "float"}
BOOL = {"type": "bool"}

INTS = {
    "0": 0, "1": 1, "-1": -1, "+1": 1, "42": 42, "007": 7, "-007": -7, "+007": 7, "000": 0, "-0": 0, "+0": 0, "10": 10,
    "100": 100, "999999999": 999999999, "2147483647": 2147483647, "2147483648": 2147483648, "-2147483648": -2147483648,
    "-2147483649": -2147483649, "4294967296": 4294967296, "9007199254740993": 9007199254740993,
    "9223372036854775807": 9223372036854775807, "-9223372036854775808": -9223372036854775808,
    "+9223372036854775807": 9223372036854775807, "00000000000000000000000000000000000001": 1, " 5": 5, "5 ": 5,
    "  5  ": 5, " -5": -5, "1234567890123456789": 1234567890123456789, "0000": 0, "9": 9, "-9": -9,
}  # fmt: skip
NOT_INTS = [
    "1.0", "1.", ".0", "0.5", "1e5", "1E5", "1e0", "1,000", "1.000", "1 000", "1_000", "1\u00a0000", "1'000", "x",
    "5x", "x5", "-", "+", "--1", "++1", "+-1", "1-", "1+", "0x1F", "0b1", "0o7", "9223372036854775808",
    "-9223372036854775809", "99999999999999999999", "NaN", "inf", "true", "null", "NULL", "N/A", "(5)", "$5", "5%",
    "\u0665", "\uff15", "\u00b2", "\u2212" + "5", "5\t5", "1/2", "#REF!", "'5", "5;6",
]  # fmt: skip


def test_an_int_is_a_sign_and_digits() -> None:
    assert values(INT, list(INTS)) == INTS


def test_what_only_looks_like_an_int_is_rejected() -> None:
    assert broken(INT, NOT_INTS) == {cell: ["bad_int"] for cell in NOT_INTS}


DECIMALS = {
    "0": "0.00", "1": "1.00", "-1": "-1.00", "+1": "1.00", "1.5": "1.50", "1.50": "1.50", "1.500": "1.50",
    "1.5000000000000000000000000000000000000000000000000000": "1.50", "-1.25": "-1.25", "+1.25": "1.25", ".5": "0.50",
    "-.5": "-0.50", "5.": "5.00", "0.01": "0.01", "-0.01": "-0.01", "00.10": "0.10", "007.70": "7.70", "0.00": "0.00",
    "-0": "0.00", "-0.00": "0.00", "9999999999.99": "9999999999.99", "-9999999999.99": "-9999999999.99",
    "9999999999": "9999999999.00", "00000000000000000009999999999.99": "9999999999.99", "0.1": "0.10",
    "0.10000": "0.10", " 1.5": "1.50", "1.5 ": "1.50", "19.99": "19.99", "1000000": "1000000.00", "0.000": "0.00",
    ".00": "0.00", "1.230": "1.23",
}  # fmt: skip
NOT_DECIMALS = [
    "1.505", "1.501", "0.001", "0.009", "1.999", "-0.005", "10000000000", "10000000000.00", "-10000000000",
    "99999999999.99", "1e2", "1E2", "1e-2", "1.5e0", "1,5", "1,000.50", "1.000,50", "1 000.50", "1_000.50", "NaN",
    "inf", "-inf", "Infinity", ".", "-.", "+", "-", "--1.5", "+-1.5", "1.5.5", "1..5", "$1.50", "1.50€", "1.5%",
    "(1.50)", "1.5-", "0x1", "1/2", "true", "null", "one", "\u0661.\u0665", "1\u00a0000.50", "\u22121.5", "1.5\t1",
    "'1.5",
]  # fmt: skip


def test_a_decimal_is_exact() -> None:
    assert values(MONEY, list(DECIMALS)) == {text: Decimal(value) for text, value in DECIMALS.items()}


def test_a_decimal_that_would_have_to_be_rounded_is_rejected() -> None:
    assert broken(MONEY, NOT_DECIMALS) == {cell: ["bad_decimal"] for cell in NOT_DECIMALS}


def test_a_decimal_holds_as_many_digits_as_it_says() -> None:
    assert values({"type": "decimal(2,2)"}, ["0.55", ".55", "0", "00.5", "1.00", "0.555", "1"]) == {
        "0.55": Decimal("0.55"), ".55": Decimal("0.55"), "0": Decimal("0.00"), "00.5": Decimal("0.50"),
        "1.00": ["bad_decimal"], "0.555": ["bad_decimal"], "1": ["bad_decimal"],
    }  # fmt: skip
    assert values({"type": "decimal(3,0)"}, ["999", "1.0", "1.", "1000", "0.5", ".0"]) == {
        "999": Decimal(999), "1.0": Decimal(1), "1.": Decimal(1), "1000": ["bad_decimal"], "0.5": ["bad_decimal"],
        ".0": Decimal(0),
    }  # fmt: skip
    wide = "1" * 28 + "." + "2" * 10
    assert values({"type": "decimal(38,10)"}, [wide, "1" + wide]) == {wide: Decimal(wide), "1" + wide: ["bad_decimal"]}


FLOATS = {
    "0": 0.0, "1": 1.0, "-1": -1.0, "+1": 1.0, "1.5": 1.5, "-1.5": -1.5, ".5": 0.5, "5.": 5.0, "1e5": 1e5, "1E5": 1e5,
    "1e+5": 1e5, "1e-5": 1e-5, "1.5e3": 1500.0, "-2.5E-3": -0.0025, "0.1": 0.1, "0.30000000000000004": 0.1 + 0.2,
    "1e308": 1e308, "1.7976931348623157e308": 1.7976931348623157e308, "5e-324": 5e-324,
    "2.2250738585072014e-308": 2.2250738585072014e-308, "007": 7.0, "0.0": 0.0, "-0": 0.0, "0e5": 0.0,
    "123456789.123456789": 123456789.123456789, "9007199254740993": 9007199254740992.0, " 1.5": 1.5, "1.5 ": 1.5,
    "1e0": 1.0, "00.5": 0.5, "3.14159": 3.14159,
}  # fmt: skip
NOT_FLOATS = [
    "NaN", "nan", "-nan", "inf", "-inf", "+inf", "Infinity", "-Infinity", "infinity", "INF", "1e400", "-1e400",
    "1e-400", "4.9e-9999", "1e", "e5", "1e5.5", "1e5e5", "1,5", "1 000", "1_000", "0x1p3", "0x10", "1.5f", "1d", "--1",
    "+-1", "-", "+", ".", "1.5.5", "$1", "5%", "one", "null", "\u0665", "\uff15", "\u22121", "1\t1", "1/2",
    "(1)", "#DIV/0!",
]  # fmt: skip


def test_a_float_is_finite() -> None:
    assert values(FLOAT, list(FLOATS)) == FLOATS


def test_a_number_that_a_float_cannot_hold_is_rejected() -> None:
    assert broken(FLOAT, NOT_FLOATS) == {cell: ["bad_float"] for cell in NOT_FLOATS}


BOOLS = {
    "true": True, "TRUE": True, "True": True, "tRuE": True, "t": True, "T": True, "yes": True, "YES": True,
    "Yes": True, "yEs": True, "y": True, "Y": True, "1": True, " true": True, "1 ": True, "false": False,
    "FALSE": False, "False": False, "fAlSe": False, "f": False, "F": False, "no": False, "NO": False, "No": False,
    "nO": False, "n": False, "N": False, "0": False, " false ": False, "0 ": False,
}  # fmt: skip
NOT_BOOLS = [
    "2", "-1", "00", "01", "10", "1.0", "0.0", "on", "off", "On", "OFF", "tru", "truee", "fals", "ye", "yess", "yes!",
    "nope", "ja", "nein", "oui", "si", "true false", "truefalse", "x", "X", "\u2713", "null", "NULL", "none", "N/A",
    "-", "?", "enabled", "+1", "\uff11", "tr\tue", "'1",
]  # fmt: skip


def test_a_bool_is_a_yes_or_a_no_in_any_case() -> None:
    assert values(BOOL, list(BOOLS)) == BOOLS


def test_any_other_word_is_no_bool() -> None:
    assert broken(BOOL, NOT_BOOLS) == {cell: ["bad_bool"] for cell in NOT_BOOLS}


def test_an_empty_or_blank_cell_is_no_number_and_no_mistake() -> None:
    for field in (INT, MONEY, FLOAT, BOOL):
        assert outcomes(field, [None, "", " ", "   "]) == [(None, [])] * 4


def test_typed_numbers_keep_the_same_rules() -> None:
    whole = pl.Series([3.0, -2.0, 3.5, float("nan"), float("inf"), 1e20, None])
    assert [value or codes for value, codes in outcomes(INT, whole)] == [3, -2, *[["bad_int"]] * 4, []]
    big = pl.Series([2**63 - 1, 2**63], dtype=pl.UInt64)
    assert [value or codes for value, codes in outcomes(INT, big)] == [2**63 - 1, ["bad_int"]]
    digits = pl.Series([Decimal("7.000"), Decimal("7.100")])
    assert [value or codes for value, codes in outcomes(INT, digits)] == [7, ["bad_int"]]
    assert [value or codes for value, codes in outcomes(MONEY, digits)] == [Decimal("7.00"), Decimal("7.10")]
    more = pl.Series([Decimal("7.001")])
    assert [value or codes for value, codes in outcomes(MONEY, more)] == [["bad_decimal"]]
    binary = pl.Series([0.1, 19.99, 0.1 + 0.2, 1e300])
    assert [value or codes for value, codes in outcomes(MONEY, binary)] == [
        Decimal("0.10"), Decimal("19.99"), ["bad_decimal"], ["bad_decimal"],
    ]  # fmt: skip
    assert outcomes(FLOAT, pl.Series([1.5, float("nan"), float("-inf")])) == [
        (1.5, []), (None, ["bad_float"]), (None, ["bad_float"]),
    ]  # fmt: skip
    assert outcomes(FLOAT, pl.Series([3])) == [(3.0, [])]
    assert outcomes(BOOL, pl.Series([1, 0, 2])) == [(True, []), (False, []), (None, ["bad_bool"])]
    assert outcomes(BOOL, pl.Series([True, False, None])) == [(True, []), (False, []), (None, [])]
    assert outcomes({"type": "string"}, pl.Series([12.0, 12.5])) == [("12", []), ("12.5", [])]


@settings(max_examples=50)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_every_bigint_survives_its_text(numbers: list[int]) -> None:
    assert outcomes(INT, [str(number) for number in numbers]) == [(number, []) for number in numbers]


@settings(max_examples=50)
@given(st.lists(st.decimals("-9999999999.99", "9999999999.99", places=2), min_size=1))
def test_every_decimal_survives_its_text(numbers: list[Decimal]) -> None:
    assert outcomes(MONEY, [f"{number:f}" for number in numbers]) == [(number, []) for number in numbers]


@settings(max_examples=50)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_every_finite_float_survives_its_text(numbers: list[float]) -> None:
    assert outcomes(FLOAT, [repr(number) for number in numbers]) == [(number, []) for number in numbers]


@settings(max_examples=200)
@given(st.lists(st.text(alphabet="0123456789+-.eE_, x", max_size=12), min_size=1))
def test_a_text_is_an_int_exactly_if_it_is_a_sign_and_digits(texts: list[str]) -> None:
    def is_int(text: str) -> bool:
        digits = (
            text.strip(" ").removeprefix("-") if text.strip(" ").startswith("-") else text.strip(" ").removeprefix("+")
        )
        return not text.strip(" ") or (digits.isdigit() and digits.isascii())

    assert [not codes for _, codes in outcomes(INT, texts)] == [is_int(text) for text in texts]
