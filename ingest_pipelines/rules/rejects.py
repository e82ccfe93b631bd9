"""The rejects of an item: one record per broken rule, with the row's raw cells, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import polars as pl
import pyarrow as pa

from ingest_pipelines.model import LINE, RejectSample
from ingest_pipelines.owner_only import private_file
from ingest_pipelines.rules.compile import KEY, Rules
from ingest_pipelines.rules.encoding_advice import with_encoding
from ingest_pipelines.rules.number_signs import SignAdvice
from ingest_pipelines.rules.raw_cells import display_cell
from ingest_pipelines.rules.slices import slices
from ingest_pipelines.rules.types import TYPES, Rule

SCHEMA = pa.schema(
    [("line", pa.int64()), *((name, pa.large_string()) for name in ("key", "field", "code", "reason", "row"))]
)
SAMPLES = 20
LONGEST_SAMPLE = 200
"""Characters of a cell in a sample; the whole cell is in the rejects."""


@dataclass
class Rejects:
    """Writes the rejects file and counts what it writes. The first reject creates the file.

    Attributes:
        accepted: the files of accepted rows.
    """

    path: Path
    rules: Rules
    header: Sequence[str]
    accepted: Sequence[Path] = ()
    rows: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    fields: Counter[tuple[str, str]] = field(default_factory=Counter)
    samples: list[RejectSample] = field(default_factory=list)
    _writer: pa.RecordBatchFileWriter | None = None

    def __post_init__(self) -> None:
        self._signs = SignAdvice(self.rules, self.accepted)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, raw: pl.DataFrame, repeated: Sequence[tuple[Rule, pl.Series]]) -> None:
        """Writes rejected rows, with a record for each rule that a row breaks.

        Args:
            raw: LINE and the source's columns; every row breaks a rule.
            repeated: rules about the whole item, each with a mask over `raw`.
        """
        if not len(raw):
            return
        keyed, broken = self.rules.explained(raw)
        rules = [*self.rules.rules, *(rule for rule, _ in repeated)]
        masks = [*broken, *(mask for _, mask in repeated)]
        rows = keyed.select(
            pl.col(LINE).alias("line"), display_cell(pl.col(KEY), keyed.schema[KEY]).alias("key")
        ).with_columns(self._row(raw))
        records = [
            rows.filter(mask).with_columns(
                pl.lit(rule.field).alias("field"),
                pl.lit(rule.code).alias("code"),
                self._reasons(rule, raw.filter(mask)).alias("reason"),
            )
            for rule, mask in zip(rules, masks, strict=True)
            if mask.any()
        ]
        table = pl.concat(records).sort("line", maintain_order=True).select(SCHEMA.names)
        self._write(table)
        self.rows += len(raw)
        self._count(rules, masks)
        self._sample(table, raw)

    def _reasons(self, rule: Rule, broken: pl.DataFrame) -> pl.Series:
        """The rule's reason for each row, with the line of YAML that would read its cell."""
        return with_encoding(rule, self.rules, broken, self._signs.reasons(rule, broken))

    def _row(self, raw: pl.DataFrame) -> pl.Series:
        """The source's cells as a JSON object per row."""
        kinds = {
            name: [TYPES[source.cell.field.type] for source in self.rules.sources if source.column == name]
            for name in self.header
        }
        cells = (display_cell(pl.col(name), raw.schema[name], kinds[name]).alias(name) for name in self.header)
        return raw.select(pl.struct(cells).struct.json_encode().alias("row")).to_series()

    def _write(self, records: pl.DataFrame) -> None:
        if self._writer is None:
            self._writer = pa.ipc.new_file(private_file(self.path), SCHEMA)
        # In slices: the records of a row share its text in Polars, and each has its own in Arrow's plain layout.
        for some in slices(records, len(records)):
            self._writer.write_table(some.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(SCHEMA))

    def _count(self, rules: Sequence[Rule], masks: Sequence[pl.Series]) -> None:
        by_code: dict[str, pl.Series] = {}
        by_field: dict[tuple[str, str], pl.Series] = {}
        for rule, mask in zip(rules, masks, strict=True):
            # A row counts once per code, although several of its cells or several rules may have it.
            by_code[rule.code] = mask | by_code.get(rule.code, mask)
            key = (rule.field, rule.code)
            by_field[key] = mask | by_field.get(key, mask)
        self.codes.update({code: count for code, mask in by_code.items() if (count := int(mask.sum()))})
        self.fields.update({key: count for key, mask in by_field.items() if (count := int(mask.sum()))})

    def _sample(self, records: pl.DataFrame, raw: pl.DataFrame) -> None:
        samples = records.head(SAMPLES - len(self.samples))
        key_is_private = any(cell.field.pii for cell in self.rules.key.cells)
        for line, key, name, code, reason in samples.select("line", "key", "field", "code", "reason").iter_rows():
            self.samples.append(
                RejectSample(line, None if key_is_private else key, name, code, reason, self._value(raw, line, name))
            )

    def _value(self, raw: pl.DataFrame, line: int, name: str) -> str | None:
        source = next(source for source in self.rules.sources if source.cell.name == name)
        if source.cell.field.pii or source.column is None:
            return None
        cell = display_cell(pl.col(source.column), raw.schema[source.column])
        text = raw.filter(pl.col(LINE) == line).select(cell).item(0, 0)
        return None if text is None else str(text)[:LONGEST_SAMPLE]
