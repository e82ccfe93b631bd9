"""The signs of numbers: before decimals, between thousands, of currencies, of negative numbers. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, get_args

Side = Literal["CR", "DR", "C", "D", "H", "S"]
Negative = Literal["parentheses", "trailing", "minus", "CR", "DR", "C", "D", "H", "S"]
"""How a negative number is written besides a hyphen before it: `(12.50)`; `12.50-`; with U+2212, a dash or a hyphen
apart; on one side of a ledger, `12.50 DR`: then a number of the other side is positive."""

OTHER_SIDE: Mapping[str, Side] = {"CR": "DR", "DR": "CR", "C": "D", "D": "C", "H": "S", "S": "H"}
"""Side of a ledger -> the other one: credit and debit, in German Haben and Soll."""

Grouping = Literal["indian"]
"""How digits are grouped, if not by three: `12,34,567`, three digits and then two at a time."""

Percent = Literal["number", "fraction"]
"""What `5%` is: the number 5, or the fraction 0.05."""

PERCENT = "%"

MINUS_SIGNS = "\u2212\u2013"
"""What typesetters and some locales write instead of a hyphen: the minus sign and the en dash."""

SIGN_KEYS = ("decimal", "thousands", "grouping", "currency", "percent", "negative")
"""The keys of a format that are about numbers."""


@dataclass(frozen=True)
class NumberSigns:
    """How numbers are written. Values are those of the keys in `source.format`.

    Attributes:
        currency: signs of one currency; a number has one of them at its beginning or its end, or none.
    """

    decimal: str = "."
    thousands: str | None = None
    currency: tuple[str, ...] | None = None
    negative: Negative | None = None
    grouping: Grouping | None = None
    percent: Percent | None = None

    @property
    def keys(self) -> dict[str, Any]:
        """The format's keys that are not their defaults."""
        default = NumberSigns()
        keys = {key: getattr(self, key) for key in SIGN_KEYS if getattr(self, key) != getattr(default, key)}
        return {**keys, **({"currency": self.currency[0]} if self.currency and len(self.currency) == 1 else {})}

    def differences(self, other: NumberSigns) -> int:
        """The number of keys in which both differ."""
        return len(dict(self.keys.items() ^ other.keys.items()))

    def others(self, cells: Iterable[str]) -> Iterator[NumberSigns]:
        """These signs and others that numbers such as `cells` may have: the usual ones first."""
        cells = tuple(cells)
        declared = self.currency or ()
        found = {sign for cell in cells if (sign := currency_of(cell))} - set(declared)
        currency = found.pop() if len(found) == 1 else None
        if currency is not None and all(same_currency(currency, sign) for sign in declared):
            declared = (*declared, currency)
        negatives = next((forms for cell in cells if (forms := negatives_of(cell))), (self.negative,))
        percents: tuple[Percent | None, ...] = (self.percent,)
        if self.percent is None and any(PERCENT in cell for cell in cells):
            percents = get_args(Percent)
        has_groupings = self.grouping is not None or any(map(_INDIAN.search, cells))
        groupings: tuple[Grouping | None, ...] = (None, *get_args(Grouping)) if has_groupings else (None,)
        for negative, percent, grouping in product(negatives, percents, groupings):
            for decimal, thousands in self._pairs(cells):
                kept = grouping if thousands else None
                yield NumberSigns(decimal, thousands, declared or None, negative, kept, percent)

    def whole_number(self, text: str) -> int | None:
        """The number, with groups or without; None: the text is no whole number of at most 15 digits."""
        if not re.fullmatch(rf"[0-9]+|{self.groups}" if self.thousands else "[0-9]+", text):
            return None
        digits = text.replace(self.thousands, "") if self.thousands else text
        return int(digits) if len(digits) <= LONGEST_COUNT else None

    @property
    def groups(self) -> str:
        """A regular expression for digits in groups: `1,234,567` or, where they are Indian, `12,34,567`.

        The first group does not begin with 0: `0.123` in a file with points between thousands is a fraction.
        """
        sign = re.escape(self.thousands or "")
        if self.grouping == "indian":
            return rf"[1-9][0-9]?(?:{sign}[0-9]{{2}})*{sign}[0-9]{{3}}"
        return rf"[1-9][0-9]{{0,2}}(?:{sign}[0-9]{{3}})+"

    def _pairs(self, cells: Iterable[str]) -> Iterator[tuple[str, str | None]]:
        """The pairs of `SIGNS` without those that read `cells` as a pair does which is nearer to these signs."""
        there = {None, self.decimal, self.thousands}.union(*cells)
        for decimal, thousands in SIGNS:
            if thousands in there and (decimal in there or thousands == self.decimal):
                yield decimal, thousands


SIGNS: tuple[tuple[str, str | None], ...] = (
    (".", None), (",", None), (".", ","), (",", "."), (",", " "), (".", " "), (",", "'"), (".", "'"), (",", "\u2019"),
    (".", "\u2019"), (",", "\u00a0"), (".", "\u00a0"), (",", "\u202f"), (".", "\u202f"), (".", "_"), (",", "_"),
)  # fmt: skip
"""Decimal sign and sign between thousands, the usual ones first; the first pair is the default."""

BETWEEN_DIGITS = "., '\u2019\u00a0\u202f_"
"""All of these signs."""

LONGEST_COUNT = 15
"""Digits that a number of rows may have."""

_INDIAN = re.compile(rf"(?<![0-9])[0-9]{{1,2}}([{BETWEEN_DIGITS}])[0-9]{{2}}(?:\1[0-9]{{2}})*\1[0-9]{{3}}(?![0-9])")
"""Groups that are Indian: of two digits, then one of three."""

_CODES = frozenset(
    "AED ARS AUD BGN BRL CAD CHF CLP CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR ISK JPY KRW MAD MXN MYR NGN NOK "
    "NZD PEN PHP PLN QAR RON RSD RUB SAR SEK SGD THB TRY TWD UAH USD VND ZAR".split()
)
_SAME = {
    "€": "EUR", "£": "GBP", "₹": "INR", "₺": "TRY", "₴": "UAH", "₪": "ILS", "₩": "KRW", "₫": "VND", "₽": "RUB",
    "R$": "BRL", "zł": "PLN", "Kč": "CZK", "Ft": "HUF", "Fr.": "CHF", "US$": "USD", "A$": "AUD", "C$": "CAD",
}  # fmt: skip
"""Signs that mean one currency. `$`, `¥` and `kr` mean several."""
_WORDS = frozenset({"kr", "kr.", "zł", "Kč", "Ft", "lei", "Fr.", "Rs", "Rs.", "TL"})

_AMOUNT = re.compile(
    rf"[+-]?\s*(?:(?P<before>[^\s0-9+-][^0-9+-]{{0,7}}?)\s*)?[+-]?[0-9][0-9{BETWEEN_DIGITS}]*?"
    r"(?:\s*(?P<after>[^\s0-9+-][^\s0-9+-]{0,7}))?"
)


_SIDES = "|".join(get_args(Side))
_IN_PARENTHESES = re.compile(r"([^0-9()+-]{0,9})\(([^()+-]*[0-9][^()+-]*)\)([^0-9()+-]{0,9})")
_MINUS_BEHIND = re.compile(rf"([^()+-]*[0-9][^()+-]*)[-{MINUS_SIGNS}]([^0-9()+-]{{0,9}})")
_MINUS_BEFORE = re.compile(rf"([^0-9()+-]{{0,9}})(?:[{MINUS_SIGNS}]|-(?=\s))([^()+-]*[0-9][^()+-]*)")
_SIDE = re.compile(
    rf"([^()+-]*[0-9](?:\s[^()+-]*\s)?)\s*(?P<behind>{_SIDES})|"
    rf"(?P<before>{_SIDES})(?:(?=[0-9])|\s+)([^()+\w-]*[0-9][^()+-]*)",
    re.IGNORECASE,
)


def negatives_of(cell: str) -> tuple[Negative, ...]:
    """How the cell may say that its number is negative, other than by a hyphen before it.

    Several: its number is on one side of a ledger, and nobody knows which of the two is negative.
    """
    if _IN_PARENTHESES.fullmatch(cell):
        return ("parentheses",)
    if _MINUS_BEFORE.fullmatch(cell):
        return ("minus",)
    if _MINUS_BEHIND.fullmatch(cell):
        return ("trailing",)
    if match := _SIDE.fullmatch(cell):
        other = OTHER_SIDE[(match["behind"] or match["before"]).upper()]
        return (other, OTHER_SIDE[other])
    return ()


def without_negative(cell: str) -> str:
    """The cell without the parentheses around its number, a minus sign, or the side of a ledger."""
    if match := _SIDE.fullmatch(cell):
        return (match[1] or match[4]).strip()
    match = _IN_PARENTHESES.fullmatch(cell) or _MINUS_BEFORE.fullmatch(cell) or _MINUS_BEHIND.fullmatch(cell)
    return cell if match is None else "".join(match.groups())


def currency_of(cell: str) -> str:
    """The sign of a currency at the cell's beginning or end, such as `€`, `R$` or `EUR`; "": none is known there."""
    match = _AMOUNT.fullmatch(without_negative(cell).strip())
    signs = [] if match is None else [sign for sign in match.groups() if sign]
    return signs[0] if len(signs) == 1 and _is_currency(signs[0]) else ""


def same_currency(sign: str, other: str) -> bool:
    """Whether both signs certainly mean one currency: `€` and `EUR`."""
    return _SAME.get(sign, sign) == _SAME.get(other, other)


def _is_currency(sign: str) -> bool:
    if sign in _CODES or sign in _WORDS:
        return True
    return any(unicodedata.category(letter) == "Sc" for letter in sign) and all(
        unicodedata.category(letter) == "Sc" or letter.isalpha() for letter in sign
    )
