"""An item of several files: each part is landed and read like a file of its own, and all of them as one item."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import polars as pl

from ingest_pipelines.config.file_format import Format
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemRefused, printable
from ingest_pipelines.landing.file_reader import Opened
from ingest_pipelines.landing.frames import Frames
from ingest_pipelines.model import LINE, OWN_COLUMNS, PART_LINES, Item, Landing

NAMED = 5
"""How many columns a message names."""


@dataclass(frozen=True)
class ListedPart:
    """A part as it was listed.

    Attributes:
        number: in messages, and in the lines of its rows.
        rows, sha256: what its manifest promises.
    """

    number: int
    item: Item
    rows: int | None = None
    sha256: str | None = None


def land_parts(
    item: Item,
    parts: Sequence[ListedPart],
    beside: Sequence[Item],
    limits: Limits,
    land: Callable[[Item, Limits], Landing],
) -> Landing:
    """All parts on local disk, each proven unchanged, and what its manifest promises of its bytes; or none of them.

    `content_sha256` is the hash of the parts' own hashes.

    Args:
        land: lands one part; see `land_file`.

    Raises:
        ItemRefused: the parts are larger than `max_bytes` together, or one is not the file of the manifest.
    """
    landed: list[Landing] = []
    left = limits.max_bytes
    try:
        for part in parts:
            if left <= 0:
                raise _too_large(item, limits)
            landing = land(part.item, limits.model_copy(update={"max_bytes": left}))
            landed.append(replace(landing, expected_rows=part.rows, part=part.number))
            if part.sha256 is not None and landing.content_sha256 != part.sha256:
                raise ItemRefused(
                    f"{part.item.uri}: its SHA-256 is not the one of its manifest: it is another file, or damaged",
                    hint="upload all parts and their manifest again",
                )
            left -= landing.bytes
    except BaseException:
        for landing in landed:
            landing.path.unlink(missing_ok=True)
        raise
    digest = hashlib.sha256("".join(landing.content_sha256 for landing in landed).encode()).hexdigest()
    first = landed[0]
    return Landing(
        item,
        first.path,
        first.format,
        digest,
        sum(landing.bytes for landing in landed),
        sum(landing.newlines for landing in landed),
        sum(landing.quotes for landing in landed),
        parts=tuple(landed),
        beside=tuple(beside),
    )


@contextmanager
def open_parts(landing: Landing, declared: Format, opened: Callable[[ExitStack, Landing], Opened]) -> Iterator[Opened]:
    """The columns and rows of all parts, one after the other, for as long as the block runs.

    A part's columns may be in another order than those of the first one. Lines are those of `PART_LINES`.

    Args:
        opened: the columns and rows of one part.

    Raises:
        ItemRefused: a part has other columns than the first one, or fewer or more rows than its manifest says.
    """
    with ExitStack() as stack:
        parts = [(part, *opened(stack, part)) for part in landing.parts]
        if declared.type == "jsonl":  # a key that an object lacks is an empty cell, in whichever part it is
            columns = tuple(dict.fromkeys(name for _, own, _ in parts for name in own))
        else:
            columns = parts[0][1]
            for part, own, _ in parts[1:]:
                _same_columns(landing.parts[0], columns, part, own)

        def read() -> Iterator[pl.DataFrame]:
            types: dict[str, pl.DataType] = {}
            for part, own, frames in parts:
                rows = 0
                for frame in frames.read():
                    rows += len(frame)
                    whole = _with_columns(frame, columns, own)
                    _same_types(types, whole, part)
                    yield whole.with_columns(pl.col(LINE) + part.part * PART_LINES)
                if part.expected_rows not in {None, rows}:
                    raise ItemRefused(
                        f"{part.item.uri}: the manifest says {part.expected_rows:,} rows, and the file has {rows:,}",
                        hint="upload all parts and their manifest again",
                    )

        def read_only(wanted: Sequence[str]) -> Iterator[pl.DataFrame]:
            for _, own, frames in parts:
                for frame in frames.read_only([name for name in wanted if name in own]):
                    yield _with_columns(frame, wanted, own)

        yield columns, Frames(read, read_only)


def _with_columns(frame: pl.DataFrame, columns: Sequence[str], own: Sequence[str]) -> pl.DataFrame:
    before = [name for name in OWN_COLUMNS if name in frame.columns]
    missing = [pl.lit(None, dtype=pl.String).alias(name) for name in columns if name not in own]
    return frame.with_columns(missing).select(*before, *columns)


def _same_columns(first: Landing, columns: Sequence[str], part: Landing, own: Sequence[str]) -> None:
    missing = [name for name in columns if name not in own]
    more = [name for name in own if name not in columns]
    if missing or more:
        what = " and ".join(
            f"{verb} {_named(names)}" for verb, names in (("lacks", missing), ("has besides", more)) if names
        )
        raise ItemRefused(
            f"{part.item.uri}: its columns are not those of {first.item.uri}: it {what}",
            hint="all parts of an item have the same columns; upload all of them again",
        )


def _same_types(types: dict[str, pl.DataType], frame: pl.DataFrame, part: Landing) -> None:
    """Refuses a part of typed columns whose types are not those of the parts before."""
    for name, dtype in frame.schema.items():
        if types.setdefault(name, dtype) != dtype:
            raise ItemRefused(
                f"{part.item.uri}: the column '{printable(name)}' has another type than in the parts before",
                hint="all parts of an item have the same types; write them again",
            )


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(f"'{printable(name)}'" for name in names[:NAMED]) + more


def _too_large(item: Item, limits: Limits) -> ItemRefused:
    return ItemRefused(
        f"{item.uri}: its parts are larger than {limits.max_bytes:,} bytes together",
        hint="raise source.limits.max_bytes",
    )
