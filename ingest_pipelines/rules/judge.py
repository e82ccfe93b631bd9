"""Every row judged: accepted rows sorted and cast on disk, rejects with every rule they break."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl

from ingest_pipelines.errors import InternalError
from ingest_pipelines.model import LINE, Landing, Validated
from ingest_pipelines.owner_only import private_folder
from ingest_pipelines.rules.ahead import read_ahead
from ingest_pipelines.rules.compile import BAD, KEY, Rules
from ingest_pipelines.rules.keys import comparable
from ingest_pipelines.rules.rejects import Rejects
from ingest_pipelines.rules.repeats import Hashes, Lines, Repeats, Seen, between, find_repeats
from ingest_pipelines.rules.spill import SLICE_ROWS, Parts, Runs
from ingest_pipelines.rules.suspects import Suspects, find_suspects
from ingest_pipelines.rules.types import Rule


@dataclass(frozen=True)
class Ahead:
    """Somebody who takes accepted rows while others are judged.

    Attributes:
        compared: `rules.compared_columns` of every row, for one look before the first row is judged.
        take: told of each run of accepted rows as soon as it is written. Rows that may repeat come last. As soon as
            more rows are rejected than the import allows, there is no further call.
    """

    compared: Iterable[pl.DataFrame]
    take: Callable[[Path], None]


def judge(
    landing: Landing, header: Sequence[str], frames: Iterable[pl.DataFrame], rules: Rules, spill: Path,
    ahead: Ahead | None = None,
) -> Validated:  # fmt: skip
    """The item's rows, judged; read = accepted + rejected + superseded.

    Args:
        header: the source's columns, in order.
        frames: LINE (ascending over the whole item) and the source's columns: text, or Arrow types. If they can be
            iterated again, they are where a value that must be unique repeats; an iterator's rows are all spilled
            for that case.
        spill: a folder; the files of this call lie in a fresh one inside it. It is gone again if this raises.
        ahead: somebody takes accepted rows while others are judged.

    Raises:
        ItemRefused: from `frames`.
        InternalError: an accepted row breaks the import's own schema.
    """
    started = perf_counter()
    private_folder(spill)
    folder = Path(tempfile.mkdtemp(prefix=f"{rules.bound.name}-", dir=spill))
    try:
        with rules.places.open(rules.bound.database.geo_database) if rules.places else nullcontext():
            judged = _first_pass(frames, rules, folder, ahead)
            verdict = _second_pass(judged, rules)
            rejects = _write_rejects(frames, judged, verdict, header, rules, folder)
        for runs in judged.accepted:
            runs.remove(verdict.out)
        if ahead is not None and judged.allowed:
            for path in judged.held.paths:
                ahead.take(path)
        judged.parts.clear()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    validated = Validated(
        landing=landing,
        accepted=tuple(path for runs in judged.accepted for path in runs.paths),
        rejects=rejects.path if rejects.rows else None,
        read=judged.read,
        accepted_rows=sum(runs.rows for runs in judged.accepted),
        rejected_rows=rejects.rows,
        superseded_rows=len(verdict.superseded),
        codes=dict(rejects.codes),
        fields=dict(rejects.fields),
        samples=tuple(rejects.samples),
        columns=tuple(header),
        geo_misses=judged.geo_misses,
        seconds=perf_counter() - started,
    )
    if validated.read != validated.accepted_rows + validated.rejected_rows + validated.superseded_rows:
        shutil.rmtree(folder, ignore_errors=True)
        raise InternalError(
            f"import {rules.bound.name}: {validated.read} rows were read, but {validated.accepted_rows} accepted, "
            f"{validated.rejected_rows} rejected and {validated.superseded_rows} superseded",
            hint="nothing was merged; this is a bug: please report it",
        )
    return validated


@dataclass
class _Judged:
    """What the first pass leaves: sorted runs, parts, and a hash of every key and unique value.

    Attributes:
        held: rows that may repeat, where somebody takes the others in the meantime.
        seen: by compared column. Nothing where the suspects are known.
        allowed: not more rows break a rule than the import allows, as far as that is known.
    """

    runs: Runs
    held: Runs
    parts: Parts
    seen: dict[str, Seen]
    suspects: Suspects | None
    read: int = 0
    geo_misses: int = 0
    broken: int = 0
    allowed: bool = True

    @property
    def accepted(self) -> tuple[Runs, Runs]:
        """All accepted rows."""
        return self.runs, self.held

    def candidates(self, name: str) -> Hashes:
        """Hashes that occur more than once in a compared column."""
        return self.seen[name].candidates() if self.suspects is None else self.suspects.hashes[name]


def _first_pass(frames: Iterable[pl.DataFrame], rules: Rules, folder: Path, ahead: Ahead | None) -> _Judged:
    """Each row by itself."""
    refuses = rules.bound.spec.duplicates == "reject"
    once = isinstance(frames, Iterator)
    judged = _Judged(
        Runs(folder, rules, on_run=ahead.take if ahead else None),
        Runs(folder, rules, "held"),
        Parts(folder, all_rows=once and (refuses or bool(rules.uniques))),
        {name: Seen(folder) for name in rules.compared},
        find_suspects(ahead.compared, rules, folder) if ahead else None,
    )
    if judged.suspects is not None:
        repeated = [hashes for name, hashes in judged.suspects.hashes.items() if name != KEY or refuses]
        _stop_above_limit(judged, rules, 2 * max(map(len, repeated), default=0))
        judged.broken = 0
    with read_ahead(frames) as ordered:
        for frame in ordered:
            broken = []
            for piece in frame.iter_slices(SLICE_ROWS):
                rows = rules.judged(piece)
                good = rows.filter(~pl.col(BAD))
                if rules.places:
                    judged.geo_misses += int(good[rules.places.miss_name].sum())
                broken.append(rows.filter(BAD).select(LINE, *rules.compared))
                _accept(judged, rows, good)
            if broken:
                judged.read += len(frame)
                judged.parts.add(frame, pl.concat(broken))
            _stop_above_limit(judged, rules, sum(map(len, broken)))
    for runs in judged.accepted:
        runs.finish()
    return judged


def _accept(judged: _Judged, rows: pl.DataFrame, good: pl.DataFrame) -> None:
    if judged.suspects is None:
        for name, seen in judged.seen.items():
            seen.add(rows[name])
    elif (suspected := judged.suspects.among(good)) is not None:
        judged.held.add(good.filter(suspected))
        good = good.filter(~suspected)
    judged.runs.add(good)


def _stop_above_limit(judged: _Judged, rules: Rules, broken: int) -> None:
    """Nobody takes rows ahead of an item that will not be merged."""
    judged.broken += broken
    if judged.suspects is not None and judged.allowed:
        judged.allowed = rules.bound.spec.rejects.allows(judged.broken, judged.suspects.rows)
        if not judged.allowed:
            judged.runs.on_run = None


@dataclass(frozen=True)
class _Verdict:
    """What only the whole item shows: repeated values.

    Attributes:
        repeated: rules about the item and the lines that break them.
        superseded: lines left out in favour of another row of the same key.
    """

    repeated: list[tuple[Rule, Lines]]
    superseded: Lines

    @property
    def out(self) -> Lines:
        """Lines that are not accepted after all, sorted."""
        return np.unique(np.concatenate([self.superseded, *(lines for _, lines in self.repeated)]))


def _second_pass(judged: _Judged, rules: Rules) -> _Verdict:
    """Rows compared with each other: repeated keys, then values that must be unique among what is left."""
    duplicates = rules.bound.spec.duplicates
    keep = "first" if duplicates == "first" else "last"
    keys = find_repeats(judged.candidates(KEY), partial(_values, judged, rules.key.value, KEY), keep)
    repeated: list[tuple[Rule, Lines]] = []
    superseded = np.empty(0, np.int64)
    if duplicates == "reject":
        repeated.append((rules.repeated_key, keys.lines))
    else:
        superseded = keys.spare
    for unique in rules.uniques:
        read = partial(_values, judged, comparable(unique.cell), unique.name, superseded)
        found: Repeats = find_repeats(judged.candidates(unique.name), read)
        repeated.append((unique.rule, found.lines))
    return _Verdict(repeated, superseded)


def _values(
    judged: _Judged, value: pl.Expr, name: str, without: Lines | None = None
) -> Iterator[tuple[pl.LazyFrame, bool]]:
    """All rows again, as (LINE, value): accepted ones, then broken ones."""
    left = pl.lit(True) if without is None else ~_in(without)
    suspected = [judged.held] if judged.suspects is not None else judged.accepted
    for path in (path for runs in suspected for path in runs.paths):
        yield pl.scan_ipc(path).filter(left).select(LINE, value.alias("value")), True
    for frame in judged.parts.all_broken():
        yield frame.select(LINE, pl.col(name).alias("value")), False


def _write_rejects(
    frames: Iterable[pl.DataFrame],
    judged: _Judged,
    verdict: _Verdict,
    header: Sequence[str],
    rules: Rules,
    folder: Path,
) -> Rejects:
    """The rejects in the order of their lines: the raw rows judged once more to say why."""
    with Rejects(folder / "rejects.arrow", rules, header) as rejects:
        for raw in _together(_raw_rejects(frames, judged.parts, verdict)):
            first, last = int(raw[LINE][0]), int(raw[LINE][-1])
            masks = [raw.select(_in(between(lines, first, last))).to_series() for _, lines in verdict.repeated]
            rejects.add(raw, list(zip((rule for rule, _ in verdict.repeated), masks, strict=True)))
    return rejects


def _together(parts: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The same rows in fewer frames: a few rejects cost as much as SLICE_ROWS of them."""
    waiting: list[pl.DataFrame] = []
    for part in parts:
        waiting.append(part)
        if sum(map(len, waiting)) >= SLICE_ROWS:
            yield from pl.concat(waiting, rechunk=True).iter_slices(SLICE_ROWS)
            waiting = []
    if waiting:
        yield from pl.concat(waiting, rechunk=True).iter_slices(SLICE_ROWS)


def _raw_rejects(frames: Iterable[pl.DataFrame], parts: Parts, verdict: _Verdict) -> Iterator[pl.DataFrame]:
    """The raw rows to reject, part by part: from the spill, or from the source once more if they are not there."""
    repeated = np.concatenate([np.empty(0, np.int64), *(lines for _, lines in verdict.repeated)])
    repeated.sort()
    if len(repeated) and not parts.all_rows:
        with read_ahead(frames) as ordered:
            for part, frame in enumerate(frame for frame in ordered if len(frame)):
                wanted = np.concatenate([parts.broken_lines(part), between(repeated, *parts.ranges[part])])
                yield frame.filter(_in(wanted))
        return
    for part, (first, last) in enumerate(parts.ranges):
        wanted = np.concatenate([parts.broken_lines(part), between(repeated, first, last)])
        if len(wanted):
            yield pl.read_ipc(parts.raw(part)).filter(_in(wanted))


def _in(lines: Lines) -> pl.Expr:
    return pl.col(LINE).is_in(pl.Series(lines).implode())
