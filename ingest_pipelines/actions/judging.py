"""Corrected rows against an import's real rules, before a person loads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingest_pipelines.config import BoundImport


@dataclass(frozen=True)
class BrokenRule:
    """A rule that a row breaks.

    Attributes:
        column: the source column of the cell; "" if the rule is about no single column.
    """

    column: str
    field: str
    code: str
    reason: str


Cells = Mapping[str, str | None]
"""A row's cells by source column."""


def judge(bound: BoundImport, rows: Mapping[int, Cells]) -> dict[int, Sequence[BrokenRule]]:
    """The rules that each row breaks by itself; what only a load can tell (repeated keys, matches) is not among them.

    Args:
        rows: by line.

    Raises:
        ConfigError: a rule of the import is none.
    """
    import polars as pl

    from ingest_pipelines.model import LINE
    from ingest_pipelines.rules import compile_rules

    if not rows:
        return {}
    rules = compile_rules(bound)
    columns = dict.fromkeys(
        (*(source.column for source in rules.sources if source.column is not None), *rules.compared_columns)
    )
    lines = sorted(rows)
    frame = pl.DataFrame(
        {LINE: lines, **{column: [rows[line].get(column) or "" for line in lines] for column in columns}},
        schema={LINE: pl.Int64, **dict.fromkeys(columns, pl.String)},
    )
    keyed, masks = rules.explained(frame)
    column_of = {mapped.name: mapped.column for mapped in bound.fields}
    broken: dict[int, list[BrokenRule]] = {line: [] for line in lines}
    for rule, mask in zip(rules.rules, masks, strict=True):
        if mask.any():
            for line in keyed.filter(mask)[LINE]:
                broken[line].append(BrokenRule(column_of.get(rule.field, ""), rule.field, rule.code, rule.reason))
    return dict(broken)
