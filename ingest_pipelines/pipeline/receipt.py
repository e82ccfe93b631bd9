"""The receipt of a delivered file: what became of it, written beside it for its sender.

`NAME.receipt.json` has the verdict; `NAME.rejects.csv` has the rejected rows, with the sender's own columns. Both say
only what the ledger has, so writing them again writes the same. The rows come first: whoever sees the verdict finds
them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path
from typing import Any

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import (
    IngestError,
    ItemGone,
    ItemRefused,
    LoadError,
    RejectsAboveLimit,
    ShrunkItem,
    StaleItem,
)
from ingest_pipelines.formulas import escape_formula, escape_name
from ingest_pipelines.merge import Target
from ingest_pipelines.merge.stage_rejects import RefusedByTable
from ingest_pipelines.model import Item, spelled_line
from ingest_pipelines.owner_only import open_private
from ingest_pipelines.rules.codes import CODES
from ingest_pipelines.sources import open_files
from ingest_pipelines.sources.base import Client, FileSource

OWN_COLUMNS = ("ingest.line", "ingest.field", "ingest.codes", "ingest.reasons")
"""Our columns of the rejected rows, behind the sender's own."""

_ABOUT_THE_FILE = (ItemRefused, StaleItem, ShrunkItem, RejectsAboveLimit)
"""Errors whose message is about what was sent."""

_LARGEST = 1_000_000
"""No receipt has so many bytes: a longer file of that name is not ours."""


def is_answered(error: IngestError) -> bool:
    """Whether the error is a verdict on the file; others are the receiver's troubles, and the file is tried again."""
    return isinstance(error, (*_ABOUT_THE_FILE, RefusedByTable))


def write_receipt(
    item: Item, load: int | None, bound: BoundImport, target: Target, folder: Path, client: Client | None = None,
    error: LoadError | None = None,
) -> str:  # fmt: skip
    """Writes the receipt of the item's load, and its rejected rows; returns the receipt's path, or "" if none is due.

    Written again, it is the same. A later load of the same item replaces it. A file of the same name that is another
    delivery gets a receipt of another name.

    Args:
        folder: a local folder, in which the files are made.
        error: why the load failed.

    Raises:
        SourceUnavailable, SourceDenied: the store does not take it.
        TargetUnavailable: the ledger does not answer.
    """
    receipt = bound.spec.receipt
    if receipt is None or item.kind != "file" or load is None:
        return ""
    rejected, verdict = folder / "rejects.csv", folder / "receipt.json"
    try:
        with open_files(bound.connection, client) as source:
            path = _free_path(source, receipt.folder.strip("/"), item)
            rejects = f"{path}.rejects.csv"
            with target.ledger() as connection:
                loaded = ledger.get_load(connection, load)
                if loaded is None:
                    return ""
                columns = _columns(ledger.rejected_columns(connection, load), bound)
                rows = ledger.rejected_rows(connection, bound.name, load, unresolved=False)
                written = _write_rows(rejected, columns, rows)
            if written or _read(source, rejects) is not None:  # those of an earlier verdict on the item
                source.write(rejects, rejected)
            with open_private(verdict, "w") as file:
                content = _verdict(item, loaded, rejects if written else None, error)
                json.dump(content, file, indent=2, ensure_ascii=False)
                file.write("\n")
            source.write(f"{path}.receipt.json", verdict)
    finally:
        for file_made in (rejected, verdict):
            file_made.unlink(missing_ok=True)
    return f"{path}.receipt.json"


def _free_path(source: FileSource, folder: str, item: Item) -> str:
    """The path of the item's receipt, without its ending: by its name, unless somebody else's lies there."""
    own = f"{item.import_name}_{item.key}"
    names = chain((item.path.rpartition("/")[2], str(item.key), own), (f"{own}_{number}" for number in count(2)))
    return next(path for path in (f"{folder}/{name}" for name in names) if _is_free(source, path, item))


def _is_free(source: FileSource, path: str, item: Item) -> bool:
    """Whether both files of that name are the item's, or are missing: nobody else's file is replaced."""
    content = _read(source, f"{path}.receipt.json")
    return (content is None or _is_of(content, item)) and not _has_foreign_rows(source, f"{path}.rejects.csv")


def _has_foreign_rows(source: FileSource, path: str) -> bool:
    try:
        begin = next(iter(source.read(path)), b"")
    except ItemGone:
        return False
    return not begin.split(b"\r\n", 1)[0].endswith(",".join(OWN_COLUMNS).encode())


def _is_of(content: bytes, item: Item) -> bool:
    try:
        known = json.loads(content)
    except ValueError:
        return False
    return isinstance(known, dict) and (known.get("import"), known.get("item")) == (item.import_name, item.key)


def _read(source: FileSource, path: str) -> bytes | None:
    """The file's content, or nothing if it is too long to be a receipt; None where there is none."""
    try:
        return b"" if source.stat(path).size > _LARGEST else b"".join(source.read(path))
    except ItemGone:
        return None


def _columns(kept: list[str], bound: BoundImport) -> list[str]:
    """The sender's own columns: without the constants of the import."""
    constants = {mapped.column for mapped in bound.fields if mapped.cleaning.constant is not None}
    return [column for column in kept if column not in constants]


def _write_rows(file: Path, columns: list[str], rows: Iterator[ledger.RejectedRow]) -> int:
    """Writes the rejected rows; returns how many."""
    written = 0
    with open_private(file, "w", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\r\n")
        writer.writerow([*map(escape_name, columns), *OWN_COLUMNS])
        for row in rows:
            cells = row.row or {}
            source = (escape_formula(cells.get(column) or "") for column in columns)
            line = spelled_line(row.line).removeprefix("line ")
            fields, codes = (" ".join(dict.fromkeys(words)) for words in (row.fields, row.codes))
            reasons = "; ".join(map(_own_reason, row.codes, row.reasons))
            writer.writerow([*source, line, fields, codes, escape_formula(reasons)])
            written += 1
    return written


def _own_reason(code: str, reason: str) -> str:
    """Why the row was rejected, for the sender: without the profiles and constraints that the merge's reasons name."""
    family, meaning = CODES.get(code, ("types", reason))
    return meaning if family in {"matching", "table"} else reason


def _verdict(item: Item, load: ledger.Load, rejects: str | None, error: LoadError | None) -> dict[str, Any]:
    return {
        "import": load.import_name,
        "item": load.item,
        "file": item.path,
        "sha256": load.content_sha256,
        "bytes": item.size,
        "delivered_at": _moment(item.modified_at),
        "status": load.status,
        "when": _moment(load.finished_at),
        **asdict(load.counts),
        "codes": dict(load.codes),
        "rejects": rejects.rpartition("/")[2] if rejects else None,
        "reason": _reason(load, error),
    }


def _reason(load: ledger.Load, error: LoadError | None) -> str:
    """Why it was not loaded, for the sender: nothing about the receiver's table."""
    if isinstance(error, RefusedByTable):
        return "more rows were refused than the receiver allows"
    if error is not None:
        return error.message
    return load.error if load.status == "skipped" else ""


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
