"""Which declared signs would read a number that was rejected: found by reading it, and named as a line of YAML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl
from pydantic import ValidationError

from ingest_pipelines.config.blanks import trimmed
from ingest_pipelines.config.file_format import Format, written
from ingest_pipelines.config.number_signs import OTHER_SIDE
from ingest_pipelines.rules.cleaning import column_cleanings
from ingest_pipelines.rules.compile import Rules
from ingest_pipelines.rules.types import TYPES, Rule
from ingest_pipelines.rules.types.numbers import NUMBERS

TRIED_CELLS = 1_000
"""So many rejected cells of a field decide which signs its column has."""


@dataclass
class SignAdvice:
    """What to add to the reasons of numbers that their types do not accept.

    Attributes:
        accepted: the files of accepted rows. With a fraction among a field's values its decimal sign is right.
    """

    rules: Rules
    accepted: Sequence[Path]
    _formats: dict[str, tuple[Format, ...]] = field(default_factory=dict)

    def reasons(self, rule: Rule, broken: pl.DataFrame) -> pl.Series:
        """The rule's reason for each of the rows, which all break it."""
        reasons = pl.Series([rule.reason]).new_from_index(0, len(broken))
        source = next(source for source in self.rules.sources if source.cell.name == rule.field)
        kind, bound = source.cell.field.type, self.rules.bound
        if kind not in NUMBERS or rule.code != TYPES[kind].code or source.column is None:
            return reasons
        if not bound.reads_files or not bound.spec.source.format.takes("decimal"):
            return reasons  # these numbers have no signs of their own
        if rule.field not in self._formats:
            chosen = self._formats_of(rule.field, broken.head(TRIED_CELLS))
            if not chosen:  # none of these cells is a number; later ones may be
                return reasons
            self._formats[rule.field] = chosen
        others = self._formats[rule.field]
        for other in others:
            advice = pl.Series([self._advice(other, only=len(others) == 1)]).new_from_index(0, len(broken))
            reasons = (reasons + advice).zip_with(self._reads(rule.field, broken, other), reasons)
        return reasons

    def _formats_of(self, name: str, broken: pl.DataFrame) -> tuple[Format, ...]:
        """The formats that read most of the cells with the fewest changed keys; several: the cells leave it open."""
        ranked = [((self._reads(name, broken, other).sum(), -changed), other)
                  for changed, other in self._others(name, broken)]  # fmt: skip
        best = max((rank for rank, _ in ranked), default=(0, 0))
        return tuple(other for rank, other in ranked if rank == best and rank[0])

    def _others(self, name: str, broken: pl.DataFrame) -> Iterator[tuple[int, Format]]:
        """Formats with other signs that may read the whole column, each with the number of keys that it changes."""
        source = next(source for source in self.rules.sources if source.cell.name == name)
        raw = self.rules.cleaned(broken)[source.column or ""].cast(pl.String).drop_nulls()
        cells = raw.filter(raw.str.contains("[0-9]")).to_list()
        if not cells:
            return
        now = self.rules.bound.spec.source.format
        has_fractions = self._has_fractions(name)
        for signs in now.number_signs.others(map(trimmed, cells)):
            if has_fractions and signs.decimal != now.decimal:
                continue
            if changed := signs.differences(now.number_signs):
                with suppress(ValidationError):  # a sign that is the delimiter, for example
                    yield changed, now.with_signs(signs)

    def _has_fractions(self, name: str) -> bool:
        value = pl.col(name).cast(pl.Float64)
        return any(pl.scan_ipc(path).select((value != value.floor()).any()).collect().item() for path in self.accepted)

    def _reads(self, name: str, broken: pl.DataFrame, declared: Format) -> pl.Series:
        """Which of the rows' cells the field's type accepts in a file of this format."""
        bound = self.rules.bound
        source = bound.spec.source.model_copy(update={"format": declared})
        bound = replace(bound, spec=bound.spec.model_copy(update={"source": source}))
        cleanings = column_cleanings(bound, frozenset(self.rules.key.has_null_word))
        rules = replace(self.rules, bound=bound, cleanings=tuple(c for c in cleanings if c.field == name))
        return rules.accepts(name, broken)

    def _advice(self, other: Format, *, only: bool) -> str:
        line = written(other.given) if other.given else "remove format from the import's source"
        if only:
            return f"; if the file writes its numbers like this: {line}"
        if other.negative in OTHER_SIDE and other.negative != self.rules.bound.spec.source.format.negative:
            return f"; if {other.negative} is the negative side: {line}"
        if other.percent != self.rules.bound.spec.source.format.percent:
            return f"; if 5% is {'5' if other.percent == 'number' else '0.05'}: {line}"
        if other.decimal != self.rules.bound.spec.source.format.decimal:
            return f"; if '{other.decimal}' is its decimal sign: {line}"
        return f"; if '{other.thousands}' separates thousands: {line}"
