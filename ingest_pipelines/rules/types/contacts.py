"""email, ip: addresses of a customer."""

from __future__ import annotations

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

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"^{_OCTET}(?:\.{_OCTET}){{3}}$"


def read_ip(text: str) -> str | None:
    """The address in its shortest spelling; None if it has a zone (`%eth0`), which means something on one machine only.

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
