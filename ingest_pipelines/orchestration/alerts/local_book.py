"""What was told while the target, which holds the book of alerts, does not answer: a file in the state folder."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ingest_pipelines.ledger import AlertRecord
from ingest_pipelines.orchestration.alerts.alert_book import AlertBook
from ingest_pipelines.owner_only import open_private, private_folder, private_state, write_private


@dataclass(frozen=True)
class LocalState:
    """What the file holds.

    Attributes:
        alerts: those that are about no import: the target, the watcher's.
        outage: the target did not answer at the last look: the ledger does not have what was told since.
    """

    alerts: Sequence[AlertRecord] = ()
    outage: bool = False


def read_local(state: Path) -> LocalState:
    """What the file holds; nothing if it is missing or damaged."""
    try:
        kept: dict[str, Any] = json.loads((state / "alerts" / "open.json").read_text(encoding="utf-8"))
        return LocalState(tuple(map(_record, kept["alerts"])), bool(kept["outage"]))
    except (OSError, ValueError, KeyError, TypeError):
        return LocalState()


def write_local(state: Path, book: AlertBook, *, outage: bool) -> None:
    """Keeps the book's alerts that are about no import."""
    written = AlertBook(entry for entry in book.entries if not entry.import_name)
    alerts = [asdict(record) for record in written.records()]
    text = json.dumps({"alerts": alerts, "outage": outage}, default=lambda value: value.isoformat()).encode()
    path = state / "alerts" / "open.json"
    if not path.exists() or path.read_bytes() != text:
        write_private(path, text)


@contextmanager
def only_sender(state: Path) -> Iterator[bool]:
    """Whether no other process of this machine sends alerts; never waits."""
    folder = private_folder(private_state(state) / "alerts")
    with open_private(folder / "lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def _record(kept: dict[str, Any]) -> AlertRecord:
    ended = kept.pop("ended_at")
    since = datetime.fromisoformat(kept.pop("since"))
    return AlertRecord(**kept, since=since, ended_at=datetime.fromisoformat(ended) if ended else None)
