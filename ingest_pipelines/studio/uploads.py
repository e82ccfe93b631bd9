"""Uploads for one-time imports: streamed into the folder of their connection, under a name of ours.

Of what a browser says only the bytes are taken, and an ending out of a list: nothing that it sends is part of a path.
"""

from __future__ import annotations

import secrets
import shutil
import time
from pathlib import Path
from threading import Lock

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from ingest_pipelines.config import BoundImport
from ingest_pipelines.config.connections.csv import CsvConnection
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import UsageError
from ingest_pipelines.owner_only import open_private_bytes

MOST_BYTES = Limits().max_bytes
"""A larger file no import would load."""

ENDINGS = frozenset(
    f".{kind}{packed}"
    for kind in ("csv", "tsv", "txt", "psv", "dat", "xlsx", "jsonl", "ndjson", "parquet")
    for packed in ("", ".gz", ".zip")
) | {".zip"}

PIECE = 1 << 20
"""Bytes that are written at once."""

_NAMES = Lock()
"""Of whoever gives a file its name."""


def takes_uploads(bound: BoundImport) -> bool:
    """Whether a page can upload the import's next file: it loads on demand, and its files are named after it."""
    source = bound.spec.source
    plain = source.pattern is None and source.parts is None and "/" not in (source.file or "").strip("/")
    return bound.one_time and isinstance(bound.connection, CsvConnection) and plain


async def keep_upload(request: Request, folder: Path, stem: str) -> Path:
    """The request's body as a new file `STEM_SERIAL.ending` of the folder; a part of it is never there under that name.

    Raises:
        UsageError: too large, empty, cut off, or of an ending that no import reads.
    """
    ending = next((one for one in ENDINGS if one == request.query_params.get("ending", "").lower()), None)
    if ending is None:
        raise UsageError("no import reads files of that kind", hint="upload CSV, XLSX, JSON lines or Parquet")
    announced = request.headers.get("content-length", "")
    _refuse_large(int(announced) if announced.isdecimal() else 0)
    if announced.isdecimal() and int(announced) > shutil.disk_usage(folder).free:
        raise UsageError("the file is larger than the disk's free space", hint="nothing was kept")
    part = folder / f".{stem}_{secrets.token_hex(8)}.part"
    try:
        size, piece = 0, bytearray()
        with open_private_bytes(part) as file:
            try:
                async for chunk in request.stream():
                    size += len(chunk)
                    _refuse_large(size)
                    piece += chunk
                    if len(piece) >= PIECE:
                        await run_in_threadpool(file.write, bytes(piece))
                        piece.clear()
            except ClientDisconnect:
                raise UsageError("the upload was cut off; nothing was kept", hint="try again") from None
            file.write(piece)
        if not size:
            raise UsageError("the file is empty", hint="nothing was kept")
        return _named(part, folder, stem, ending)
    finally:
        part.unlink(missing_ok=True)


def _named(part: Path, folder: Path, stem: str, ending: str) -> Path:
    """The whole file under the next free name: of two uploads at once each has its own."""
    serial = int(time.time())
    with _NAMES:
        while (target := folder / f"{stem}_{serial}{ending}").exists():
            serial += 1
        return part.rename(target)


def _refuse_large(size: int) -> None:
    if size > MOST_BYTES:
        raise UsageError(f"the file is larger than {MOST_BYTES:,} bytes", hint="nothing was kept")
