"""Which encoding would read a text that was rejected for its control characters, as a line of YAML.

ISO 8859 has control characters where Windows has quotes, dashes and the euro sign. Senders call both "Latin-1".
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping

import polars as pl

from ingest_pipelines.config.file_format import written
from ingest_pipelines.rules.compile import Rules
from ingest_pipelines.rules.types import Rule

_OF_WINDOWS: Mapping[str, str] = {"iso8859-1": "cp1252", "iso8859-15": "cp1252", "iso8859-9": "cp1254"}
"""Encoding -> the one of Windows that has the same letters."""

_CONTROLS, _UNUSED = "[\x80-\x9f]", "[\x81\x8d\x8f\x90\x9d]"
"""Control characters of ISO 8859, and those that Windows does not use either."""


def with_encoding(rule: Rule, rules: Rules, broken: pl.DataFrame, reasons: pl.Series) -> pl.Series:
    """The reasons of rows that break the rule; each names the encoding that reads its cell, if there is one."""
    source = next(source for source in rules.sources if source.cell.name == rule.field)
    if rule.code != "unsupported_character" or source.column is None or not rules.bound.reads_files:
        return reasons
    declared = rules.bound.spec.source.format
    other = _OF_WINDOWS.get(codecs.lookup(declared.encoding).name)
    if other is None or not declared.takes("encoding") or broken.schema[source.column] != pl.String:
        return reasons
    cells = broken[source.column]
    readable = cells.str.contains(_CONTROLS).fill_null(False)
    if all(_is_utf8(cell, declared.encoding) for cell in cells.filter(readable)):
        advice = f"; if it is UTF-8: {written({**declared.given, 'encoding': 'utf-8'})}"
    else:
        readable &= ~cells.str.contains(_UNUSED).fill_null(False)
        advice = f"; if it was written on Windows: {written({**declared.given, 'encoding': other})}"
    return (reasons + pl.Series([advice]).new_from_index(0, len(reasons))).zip_with(readable, reasons)


def _is_utf8(cell: str, encoding: str) -> bool:
    try:
        cell.encode(encoding).decode()
    except UnicodeError:
        return False
    return True
