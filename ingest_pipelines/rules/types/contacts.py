"""email: one address that a mail system would take."""

from __future__ import annotations

import polars as pl

from ingest_pipelines.rules.types.base import Cell, FieldKind

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
EMAIL_PATTERN = (
    rf"^{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+(?:[A-Za-z]{{2,63}}|[Xx][Nn]--[A-Za-z0-9-]{{1,57}}[A-Za-z0-9])$"
)
"""RFC 5321's dot-string at a domain of at least two labels. Quoted local parts, comments, address literals
and display names are refused: they reach no customer."""
LONGEST_EMAIL = 254
LONGEST_LOCAL_PART = 64


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
)
