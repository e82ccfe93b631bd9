"""The signs that numbers are usually written with: between thousands, before decimals, and of currencies. Pure."""

from __future__ import annotations

import re
import unicodedata

SIGNS: tuple[tuple[str, str | None], ...] = (
    (".", None), (",", None), (".", ","), (",", "."), (",", " "), (".", " "), (",", "'"), (".", "'"), (",", "\u2019"),
    (".", "\u2019"), (",", "\u00a0"), (".", "\u00a0"), (",", "\u202f"), (".", "\u202f"), (".", "_"), (",", "_"),
)  # fmt: skip
"""Decimal sign and sign between thousands, the usual ones first; the first pair is the default."""

BETWEEN_DIGITS = "., '\u2019\u00a0\u202f_"
"""All of these signs."""

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


def currency_of(cell: str) -> str:
    """The sign of a currency at the cell's beginning or end, such as `€`, `R$` or `EUR`; "": none is known there."""
    match = _AMOUNT.fullmatch(cell)
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
