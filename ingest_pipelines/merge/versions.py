"""The order of rows by their import's `version`: which is older, and which of several is the newest. Pure.

Texts are compared as numbers if all of them are, else byte by byte, which sorts ISO dates. A row without a version is
older than any with one. `rules.versions` compares the rows of a file in the same way.
"""

from __future__ import annotations

from psycopg import sql

from ingest_pipelines.merge.stage import Stage, StageColumn

_NUMBER = sql.Literal(r"^-?[0-9]+(\.[0-9]+)?$")


def version_column_of(stage: Stage) -> StageColumn | None:
    """The column that holds a row's version: that of a field, or one of its own; None without one."""
    field = next((mapped.name for mapped in stage.bound.fields if mapped.column == stage.bound.spec.version), None)
    return next((column for column in stage.fields if column.name == field), stage.version)


def is_older(column: StageColumn, new: sql.Composable, old: sql.Composable) -> sql.Composed:
    """Whether the new version is older than the old one, which is not NULL."""
    if _is_text(column):
        return is_older_text(new, old)
    return sql.SQL("({new} IS NULL OR {old} > {new})").format(old=old, new=new)


def is_older_text(new: sql.Composable, old: sql.Composable) -> sql.Composed:
    """The same, of versions as text. Of any type: numbers, dates and times are in the order of their texts, too."""
    return sql.SQL(
        "({new} IS NULL OR CASE WHEN {old}::text ~ {number} AND {new}::text ~ {number}"
        " THEN {old}::text::numeric > {new}::text::numeric"
        ' ELSE {old}::text COLLATE "C" > {new}::text COLLATE "C" END)'
    ).format(old=old, new=new, number=_NUMBER)


def newest_line(column: StageColumn | None, keep: str) -> sql.Composed:
    """The line of the newest of the rows `s` of a group; of equally new ones, the `last` or the `first`."""
    line = sql.SQL("s._line DESC" if keep == "last" else "s._line")
    chosen = sql.SQL("(array_agg(s._line ORDER BY {}))[1]")
    if column is None:
        return chosen.format(line)
    newest = sql.SQL("{} DESC NULLS LAST, {}")
    if not _is_text(column):
        return chosen.format(newest.format(column.value, line))
    text = sql.SQL("{}::text").format(column.value)
    number = sql.SQL("CASE WHEN {} ~ {} THEN {}::numeric END").format(text, _NUMBER, text)
    return sql.SQL("CASE WHEN bool_and({} IS NULL OR {} ~ {}) THEN {} ELSE {} END").format(
        text, text, _NUMBER, chosen.format(newest.format(number, line)),
        chosen.format(newest.format(sql.SQL('{} COLLATE "C"').format(text), line)),
    )  # fmt: skip


def _is_text(column: StageColumn) -> bool:
    return column.text or column.frame.startswith("column:")
