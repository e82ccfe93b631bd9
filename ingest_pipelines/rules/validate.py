"""Validation: accepted rows sorted and cast on disk, rejects with every rule that they break."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl

from ingest_pipelines.errors import InternalError
from ingest_pipelines.model import LINE, Landing, Validated
from ingest_pipelines.owner_only import private_folder
from ingest_pipelines.rules.cleaning import Changes
from ingest_pipelines.rules.compile import BAD, KEY, Rules
from ingest_pipelines.rules.keys import comparable
from ingest_pipelines.rules.possible_repeats import PossibleRepeats, find_possible_repeats
from ingest_pipelines.rules.prefetch import prefetch
from ingest_pipelines.rules.raw_parts import RawParts
from ingest_pipelines.rules.rejects import Rejects
from ingest_pipelines.rules.repeats import Hashes, Lines, ValueHashes, between, find_repeats
from ingest_pipelines.rules.slices import SLICE_BYTES, slices
from ingest_pipelines.rules.sorted_chunks import SortedChunks
from ingest_pipelines.rules.types import Rule
from ingest_pipelines.rules.versions import NO_VERSION, versions
from ingest_pipelines.suppression import NOBODY, Suppressed

SLICE_ROWS = 32_768
"""Rows cast at a time: the intermediate columns stay in the processor's cache."""


@dataclass(frozen=True)
class ChunkConsumer:
    """A consumer that receives accepted chunks while validation is still running.

    Attributes:
        compared: the columns `rules.compared_columns` of every row, read once before the first row is validated.
        take: called with the file of each sorted chunk of accepted rows as soon as it is written. Rows that may repeat
            another row come last. Once more rows are rejected than the import allows, it is not called again.
    """

    compared: Iterable[pl.DataFrame]
    take: Callable[[Path], None]


def validate_rows(
    landing: Landing, header: Sequence[str], frames: Iterable[pl.DataFrame], rules: Rules, spill: Path,
    consumer: ChunkConsumer | None = None, suppressed: Suppressed = NOBODY,
    on_rows: Callable[[int], None] | None = None,
) -> Validated:  # fmt: skip
    """The item's rows, validated; read = accepted + rejected + superseded + suppressed.

    Args:
        header: the source's columns, in order.
        frames: LINE (ascending over the whole item) and the source's columns: text, or Arrow types. Frames that can be
            iterated twice are read a second time if a unique value repeats; of an iterator all raw rows are written to
            disk for that case.
        spill: a folder. The files of this call lie in a new folder inside it, which is removed if this raises.
        consumer: receives accepted chunks while validation is still running.
        suppressed: people whose rows are left out before any other rule; only their number is kept.
        on_rows: is called with the number of rows that have been validated so far, again and again.

    Raises:
        ItemRefused: from `frames`.
        InternalError: an accepted row breaks the import's own schema.
    """
    started = perf_counter()
    private_folder(spill)
    folder = Path(tempfile.mkdtemp(prefix=f"{rules.bound.name}-", dir=spill))
    try:
        with rules.geo_fill.open(rules.bound.database.geo_database) if rules.geo_fill else nullcontext():
            first_pass = _row_by_row(frames, rules, folder, consumer, suppressed, on_rows)
            repeated = _row_against_row(first_pass, rules)
            rejects = _write_rejects(frames, first_pass, repeated, header, rules, folder)
        for chunks in first_pass.accepted:
            chunks.remove(repeated.not_accepted)
        if consumer is not None and first_pass.within_limit:
            for path in first_pass.postponed.paths:
                consumer.take(path)
        first_pass.parts.clear()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    validated = Validated(
        landing=landing,
        accepted=tuple(path for chunks in first_pass.accepted for path in chunks.paths),
        rejects=rejects.path if rejects.rows else None,
        read=first_pass.read,
        accepted_rows=sum(chunks.rows for chunks in first_pass.accepted),
        rejected_rows=rejects.rows,
        superseded_rows=len(repeated.superseded),
        codes=dict(rejects.codes),
        fields=dict(rejects.fields),
        samples=tuple(rejects.samples),
        columns=tuple(header),
        geo_misses=first_pass.geo_misses,
        cleaned=_by_field(first_pass.changes),
        seconds=perf_counter() - started,
        suppressed_rows=first_pass.suppressed_rows,
        suppressed_until=suppressed.newest,
    )
    left_out = validated.superseded_rows + validated.suppressed_rows
    if validated.read != validated.accepted_rows + validated.rejected_rows + left_out:
        shutil.rmtree(folder, ignore_errors=True)
        raise InternalError(
            f"import {rules.bound.name}: {validated.read} rows were read, but {validated.accepted_rows} accepted, "
            f"{validated.rejected_rows} rejected and {left_out} left out",
            hint="nothing was merged; this is a bug: please report it",
        )
    return validated


def _by_field(changes: Changes) -> dict[str, dict[str, int]]:
    cleaned: dict[str, dict[str, int]] = {}
    for (name, word), cells in changes.items():
        cleaned.setdefault(name, {})[word] = cells
    return cleaned


@dataclass
class _FirstPass:
    """What the first pass leaves: sorted chunks, raw parts, and a hash of every key and unique value.

    Attributes:
        chunks: accepted rows, without those in `postponed`.
        postponed: with a consumer, accepted rows that may repeat another row; else none.
        hashes: by compared column. Empty where `possible_repeats` has them.
        broken_rows: rows that break a rule, as far as they are counted.
        within_limit: no more rows break a rule than the import allows, as far as they are counted.
    """

    chunks: SortedChunks
    postponed: SortedChunks
    parts: RawParts
    hashes: dict[str, ValueHashes]
    possible_repeats: PossibleRepeats | None
    read: int = 0
    changes: Changes = field(default_factory=Changes)
    geo_misses: int = 0
    broken_rows: int = 0
    within_limit: bool = True
    suppressed_rows: int = 0

    @property
    def accepted(self) -> tuple[SortedChunks, SortedChunks]:
        """All accepted rows."""
        return self.chunks, self.postponed

    def repeated_hashes(self, name: str) -> Hashes:
        """Hashes that occur more than once in a compared column."""
        if self.possible_repeats is None:
            return self.hashes[name].candidates()
        return self.possible_repeats.hashes[name]


def _row_by_row(
    frames: Iterable[pl.DataFrame], rules: Rules, folder: Path, consumer: ChunkConsumer | None, suppressed: Suppressed,
    on_rows: Callable[[int], None] | None,
) -> _FirstPass:  # fmt: skip
    """The first pass: every row by itself."""
    rejects_repeats = rules.bound.spec.duplicates == "reject"
    once = isinstance(frames, Iterator)
    first_pass = _FirstPass(
        SortedChunks(folder, rules, on_chunk=consumer.take if consumer else None),
        SortedChunks(folder, rules, "postponed"),
        RawParts(folder, all_rows=once and (rejects_repeats or bool(rules.uniques))),
        {name: ValueHashes(folder) for name in rules.compared},
        find_possible_repeats(consumer.compared, rules, folder) if consumer else None,
        changes=rules.no_changes(),
    )
    if first_pass.possible_repeats is not None:
        repeated = [
            hashes for name, hashes in first_pass.possible_repeats.hashes.items() if name != KEY or rejects_repeats
        ]
        _stop_above_limit(first_pass, rules, 2 * max(map(len, repeated), default=0))
        first_pass.broken_rows = 0
    with prefetch(frames) as ordered:
        for frame in ordered:
            broken, kept_out = [], []
            for piece in slices(frame, SLICE_ROWS):
                rows = rules.validated(piece, first_pass.changes)
                if suppressed and (theirs := rules.suppressed(rows, suppressed)).any():
                    kept_out.append(rows.filter(theirs)[LINE])
                    rows = rows.filter(~theirs)
                good = rows.filter(~pl.col(BAD))
                if rules.geo_fill:
                    first_pass.geo_misses += int(good[rules.geo_fill.miss_name].sum())
                broken.append(rows.filter(BAD).select(LINE, *rules.compared))
                _accept(first_pass, rows, good)
            if broken:
                first_pass.read += len(frame)
                first_pass.parts.add(frame, pl.concat(broken), pl.concat(kept_out) if kept_out else None)
                first_pass.suppressed_rows += sum(map(len, kept_out))
                if on_rows is not None:
                    on_rows(first_pass.read)
            _stop_above_limit(first_pass, rules, sum(map(len, broken)))
    for chunks in first_pass.accepted:
        chunks.finish()
    return first_pass


def _accept(first_pass: _FirstPass, rows: pl.DataFrame, good: pl.DataFrame) -> None:
    if first_pass.possible_repeats is None:
        for name, hashes in first_pass.hashes.items():
            hashes.add(rows[name])
    elif (may_repeat := first_pass.possible_repeats.among(good)) is not None:
        first_pass.postponed.add(good.filter(may_repeat))
        good = good.filter(~may_repeat)
    first_pass.chunks.add(good)


def _stop_above_limit(first_pass: _FirstPass, rules: Rules, broken_rows: int) -> None:
    """The consumer gets no more chunks of an item that will not be merged."""
    first_pass.broken_rows += broken_rows
    if first_pass.possible_repeats is not None and first_pass.within_limit:
        rows = first_pass.possible_repeats.rows
        first_pass.within_limit = rules.bound.spec.rejects.allows(first_pass.broken_rows, rows)
        if not first_pass.within_limit:
            first_pass.chunks.on_chunk = None


@dataclass(frozen=True)
class _Repeated:
    """What only the whole item shows: repeated values.

    Attributes:
        by_rule: rules about the item and the lines that break them.
        superseded: lines left out in favour of another row of the same key.
    """

    by_rule: list[tuple[Rule, Lines]]
    superseded: Lines

    @property
    def not_accepted(self) -> Lines:
        """Lines that the first pass accepted and the second one does not, sorted."""
        return np.unique(np.concatenate([self.superseded, *(lines for _, lines in self.by_rule)]))


def _row_against_row(first_pass: _FirstPass, rules: Rules) -> _Repeated:
    """The second pass: repeated keys, then values that must be unique among the rows that are left."""
    duplicates = rules.bound.spec.duplicates
    keep = "first" if duplicates == "first" else "last"
    read_keys = partial(_values, first_pass, rules.key.value, KEY, versions=versions(rules))
    keys = find_repeats(first_pass.repeated_hashes(KEY), read_keys, keep)
    by_rule: list[tuple[Rule, Lines]] = []
    superseded = np.empty(0, np.int64)
    if duplicates == "reject":
        by_rule.append((rules.repeated_key, keys.lines))
    else:
        superseded = keys.spare
    for unique in rules.uniques:
        read = partial(_values, first_pass, comparable(unique.cell), unique.name, superseded)
        by_rule.append((unique.rule, find_repeats(first_pass.repeated_hashes(unique.name), read).lines))
    return _Repeated(by_rule, superseded)


def _values(
    first_pass: _FirstPass, value: pl.Expr, name: str, without: Lines | None = None,
    versions: Sequence[pl.Expr] = NO_VERSION,
) -> Iterator[tuple[pl.LazyFrame, bool]]:  # fmt: skip
    """All rows again, as (LINE, value, versions): accepted ones, then broken ones."""
    left = pl.lit(True) if without is None else ~_in(without)
    compared = first_pass.accepted if first_pass.possible_repeats is None else (first_pass.postponed,)
    for path in (path for chunks in compared for path in chunks.paths):
        yield pl.scan_ipc(path).filter(left).select(LINE, value.alias("value"), *versions), True
    for frame in first_pass.parts.all_broken():
        yield frame.select(LINE, pl.col(name).alias("value"), *NO_VERSION), False


def _write_rejects(
    frames: Iterable[pl.DataFrame],
    first_pass: _FirstPass,
    repeated: _Repeated,
    header: Sequence[str],
    rules: Rules,
    folder: Path,
) -> Rejects:
    """The rejects in the order of their lines. Their raw rows are validated again, to name every broken rule."""
    accepted = tuple(path for chunks in first_pass.accepted for path in chunks.paths)
    with Rejects(folder / "rejects.arrow", rules, header, accepted) as rejects:
        for raw in _together(_raw_rejects(frames, first_pass.parts, repeated)):
            first, last = int(raw[LINE][0]), int(raw[LINE][-1])
            masks = [raw.select(_in(between(lines, first, last))).to_series() for _, lines in repeated.by_rule]
            rejects.add(raw, list(zip((rule for rule, _ in repeated.by_rule), masks, strict=True)))
    return rejects


def _together(parts: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same rows in fewer frames: a few rejects cost as much as SLICE_ROWS of them."""
    waiting: list[pl.DataFrame] = []
    for part in parts:
        waiting.append(part)
        if sum(map(len, waiting)) >= SLICE_ROWS or sum(each.estimated_size() for each in waiting) >= SLICE_BYTES:
            yield from slices(pl.concat(waiting, rechunk=True), SLICE_ROWS)
            waiting = []
    if waiting:
        yield from slices(pl.concat(waiting, rechunk=True), SLICE_ROWS)


def _raw_rejects(frames: Iterable[pl.DataFrame], parts: RawParts, repeated: _Repeated) -> Iterator[pl.DataFrame]:
    """The raw rows to reject, part by part: from disk, or from the source again if not all raw rows were written."""
    repeated_lines = np.concatenate([np.empty(0, np.int64), *(lines for _, lines in repeated.by_rule)])
    repeated_lines.sort()
    if len(repeated_lines) and not parts.all_rows:
        with prefetch(frames) as ordered:
            for part, frame in enumerate(frame for frame in ordered if len(frame)):
                rejected = np.concatenate([parts.broken_lines(part), between(repeated_lines, *parts.ranges[part])])
                yield frame.filter(_in(rejected))
        return
    for part, (first, last) in enumerate(parts.ranges):
        rejected = np.concatenate([parts.broken_lines(part), between(repeated_lines, first, last)])
        if len(rejected):
            yield pl.read_ipc(parts.raw(part)).filter(_in(rejected))


def _in(lines: Lines) -> pl.Expr:
    return pl.col(LINE).is_in(pl.Series(lines).implode())
