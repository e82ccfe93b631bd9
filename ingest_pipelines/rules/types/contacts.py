"""email, phone, phones, ip: where a customer can be reached. Stored in the one spelling that a system dials."""

from __future__ import annotations

import json
import re
from functools import partial

import polars as pl

from ingest_pipelines.config.spellings import EMAIL_PATTERN, LONGEST_EMAIL, LONGEST_LOCAL_PART
from ingest_pipelines.rules.types.base import Cell, FieldKind
from ingest_pipelines.rules.types.by_value import by_distinct_value


def _read_email(cell: Cell, source: pl.DataType) -> pl.Expr:
    raw = cell.raw
    fits = (
        raw.str.contains(EMAIL_PATTERN)
        & (raw.str.len_bytes() <= LONGEST_EMAIL)
        & (raw.str.find("@", literal=True) <= LONGEST_LOCAL_PART)
    )
    return pl.when(fits).then(raw)


EMAIL = FieldKind(
    code="bad_email",
    dtype=lambda _: pl.String(),
    reason=lambda _: "not one email address such as ann@example.com",
    read=_read_email,
    keeps_raw=True,
)

_E164 = r"\+[1-9][0-9]{6,14}"
_WRITTEN = re.compile(r"(?:tel:)?\+?[0-9 ()./\u00a0\u2011-]{3,40}", re.ASCII)
"""What a person writes as a number: no letters, no extension; E.164 has neither."""


def read_phone(text: str, region: str | None) -> str | None:
    """The number in E.164, of a length its country has; None where it is none. National ones need the region."""
    import phonenumbers

    if re.fullmatch(_E164, text):
        return text
    if not _WRITTEN.fullmatch(text):
        return None
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if phonenumbers.is_possible_number_with_reason(number) != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _read_phone_cell(cell: Cell, source: pl.DataType) -> pl.Expr:
    ready = cell.raw.str.contains(f"^{_E164}$")
    other = by_distinct_value(
        pl.when(~ready).then(cell.raw), partial(read_phone, region=cell.field.region), pl.String()
    )
    return pl.when(ready).then(cell.raw).otherwise(other)


def _national(cell: Cell) -> str:
    return f", or a number of {cell.field.region}" if cell.field.region else ""


PHONE = FieldKind(
    code="bad_phone",
    dtype=lambda _: pl.String(),
    reason=lambda cell: f"not a phone number such as +442079460018{_national(cell)}",
    read=_read_phone_cell,
)


def read_phones(text: str, region: str | None) -> list[str] | None:
    """The numbers of a JSON array, or of a text that separates them by `;` or `,`; each once, in order.

    Raises:
        ValueError: neither.
    """
    parts = json.loads(text) if text.startswith("[") else re.split("[;,]", text)
    if not all(isinstance(part, str) for part in parts):
        return None
    numbers = [read_phone(part.strip(" "), region) for part in parts if part.strip(" ")]
    if None in numbers or (parts and not numbers):
        return None
    return list(dict.fromkeys(number for number in numbers if number))


def _read_phones_cell(cell: Cell, source: pl.DataType) -> pl.Expr:
    ready = cell.raw.str.contains(f"^{_E164}(?:[;,]{_E164})*$")
    split = pl.when(ready).then(cell.raw).str.replace_all(",", ";", literal=True).str.split(";")
    other = by_distinct_value(
        pl.when(~ready).then(cell.raw), partial(read_phones, region=cell.field.region), pl.List(pl.String)
    )
    return pl.when(ready).then(split.list.unique(maintain_order=True)).otherwise(other)


PHONES = FieldKind(
    code="bad_phone",
    dtype=lambda _: pl.List(pl.String),
    reason=lambda cell: f"not phone numbers such as +442079460018;+442079460019{_national(cell)}, nor a JSON array",
    read=_read_phones_cell,
)

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"^{_OCTET}(?:\.{_OCTET}){{3}}$"


def read_ip(text: str) -> str | None:
    """The address in its shortest spelling; a zone (`%eth0`) belongs to one machine and is refused.

    Raises:
        ValueError: not an address.
    """
    from ipaddress import ip_address

    return None if "%" in text else str(ip_address(text))


def _read_ip_cell(cell: Cell, source: pl.DataType) -> pl.Expr:
    ready = cell.raw.str.contains(_IPV4)
    return (
        pl.when(ready).then(cell.raw).otherwise(by_distinct_value(pl.when(~ready).then(cell.raw), read_ip, pl.String()))
    )


IP = FieldKind(
    code="bad_ip",
    dtype=lambda _: pl.String(),
    reason=lambda _: "not an IPv4 or IPv6 address such as 203.0.113.7 or 2001:db8::7",
    read=_read_ip_cell,
)
