"""Reads a landed file of any declared format as frames. A refusal says which format would read the file."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ingest_pipelines.config.file_format import Format
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemRefused, Unavailable
from ingest_pipelines.landing.csv_reader import read_csv
from ingest_pipelines.landing.csv_signs import CsvSigns
from ingest_pipelines.landing.frames import Frames
from ingest_pipelines.landing.header import NO_SPELLINGS, Spellings
from ingest_pipelines.landing.land import PART
from ingest_pipelines.landing.translate import needs_translation, quotes_in, signs_of, translate
from ingest_pipelines.model import Landing

Opened = tuple[tuple[str, ...], Frames]


@contextmanager
def open_rows(
    landing: Landing,
    required_columns: Sequence[str],
    declared: Format,
    limits: Limits,
    spellings: Spellings = NO_SPELLINGS,
) -> Iterator[Opened]:
    """The file's columns and rows, for as long as the block runs; what was translated is deleted then.

    Columns of a frame are those of `read_csv`.

    Raises:
        ItemRefused: the content is not what `declared` says; the message names the line. If another format would read
            the file, the hint is the line of YAML that declares it.
    """
    if landing.item.kind == "replay":  # a CSV file of ours
        declared = Format()
    try:
        with open_as(landing, required_columns, declared, limits, spellings) as opened:
            yield opened
    except ItemRefused as refusal:
        from ingest_pipelines.landing.advice import advise

        advise(refusal, landing, required_columns, declared, limits, spellings)
        raise


@contextmanager
def open_as(
    landing: Landing,
    required_columns: Sequence[str],
    declared: Format,
    limits: Limits,
    spellings: Spellings = NO_SPELLINGS,
) -> Iterator[Opened]:
    """The same, without advice."""
    if declared.type == "jsonl":
        from ingest_pipelines.landing.jsonl_reader import read_jsonl

        yield read_jsonl(landing, required_columns, spellings, limits)
    elif declared.type == "parquet":
        from ingest_pipelines.landing.parquet_reader import read_parquet

        yield read_parquet(landing, required_columns, spellings, limits)
    elif declared.type == "xlsx":
        from ingest_pipelines.landing.xlsx_reader import read_xlsx

        yield read_xlsx(landing, required_columns, spellings, declared, limits)
    elif declared.is_default:
        yield read_csv(landing, required_columns, limits, spellings)
    elif not needs_translation(declared):
        quotes = quotes_in(landing, declared)
        yield read_csv(replace(landing, quotes=quotes), required_columns, limits, spellings, signs_of(declared))
    else:
        with _translated(landing, declared, limits) as (translated, signs):
            yield read_csv(translated, required_columns, limits, spellings, signs)


@contextmanager
def _translated(landing: Landing, declared: Format, limits: Limits) -> Iterator[tuple[Landing, CsvSigns]]:
    handle, name = tempfile.mkstemp(prefix=PART, dir=landing.path.parent)
    os.close(handle)
    path = Path(name)
    try:
        yield translate(landing, declared, limits, path)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise
        raise Unavailable(
            f"{landing.item.uri}: no space left in {path.parent}", hint="free disk space and run again"
        ) from None
    finally:
        path.unlink(missing_ok=True)
