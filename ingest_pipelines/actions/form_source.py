"""What an import reads, as a form's or a person's answers name it: files with their keys and parts, tables, queries.

Answers are texts by the names of the form's fields; `ingest new` asks for the same ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ingest_pipelines.actions.draft import file_keys, is_encrypted

if TYPE_CHECKING:
    from ingest_pipelines.actions.form_columns import Answers
    from ingest_pipelines.config.connections import Connection
    from ingest_pipelines.detection import PartsProposal, Reading
    from ingest_pipelines.model import SourceFile

READ_EACH_TIME: Mapping[str, str] = {
    "": "all rows",
    "cursor": "new rows only: a cursor",
    "window": "one period after another: windows",
}
"""What each load of an own SELECT reads."""

OF_A_QUERY = (
    "query", "per", "cursor_column", "cursor_start", "window_every", "window_start", "window_timezone", "window_offset",
    "window_wall_clock",
)  # fmt: skip
"""Answers that a query's sample depends on."""

KEYS = ("private_key", "passphrase", "signed_by")
"""What `source.decrypt` has."""

OF_A_FILE = ("path", *(f"decrypt_{key}" for key in KEYS))
"""Answers that a file's sample depends on."""


def is_one_time(connection: Connection) -> bool:
    """Whether imports of the connection load on demand only."""
    from ingest_pipelines.config.connections import FileConnection

    return isinstance(connection, FileConnection) and connection.one_time


def source_of(
    answers: Answers,
    reading: Reading | None,
    endings: Sequence[str],
    *,
    reads_files: bool,
    proposal: PartsProposal | None = None,
) -> dict[str, Any]:
    """The source as YAML has it, without the format.

    Args:
        proposal: the delivery that the file may be a part of.
    """
    path = str(answers.get("path", ""))
    if not reads_files:
        return query_of(answers) if answers.get("reads") == "query" else {"table": path}
    keys = decrypt_of(answers, path)
    member = {"member": reading.member} if reading is not None and reading.member else {}
    together = proposal is not None and answers.get("parts", "together") == "together"
    named = delivery_of(path, proposal, _text(answers, "parts_count")) if together and proposal is not None else None
    return {**(named or file_keys(path, endings)), **({"decrypt": keys} if keys else {}), **member}


def query_of(answers: Answers) -> dict[str, Any]:
    """An own SELECT, with its cursor or its windows."""
    query: dict[str, Any] = {"query": str(answers.get("query", "")).replace("\r\n", "\n").strip()}
    per = str(answers.get("per", "cursor" if answers.get("cursor_column") else ""))
    if per == "cursor":
        query["cursor"] = {"column": _text(answers, "cursor_column"), "start": _number(_text(answers, "cursor_start"))}
    if per == "window":
        window: dict[str, Any] = {"every": _text(answers, "window_every") or "day"}
        window["start"] = _text(answers, "window_start")
        if (zone := _text(answers, "window_timezone")) not in {"", "UTC"}:
            window["timezone"] = zone
        if offset := _text(answers, "window_offset"):
            window["offset"] = offset
        if answers.get("window_wall_clock") == "on":
            window["wall_clock"] = True
        query["window"] = window
    return query


def _text(answers: Answers, name: str) -> str:
    return str(answers.get(name, "")).strip()


def _number(text: str) -> int | str:
    return int(text) if re.fullmatch(r"-?\d{1,18}", text) else text


def decrypt_of(answers: Answers, path: str) -> dict[str, dict[str, str]]:
    """`decrypt` of a file whose name says that it is encrypted: each answer names an environment variable."""
    if not is_encrypted(path):
        return {}
    return {key: {"env": name} for key in KEYS if (name := _text(answers, f"decrypt_{key}"))}


def secret_mistake(reference: Mapping[str, str]) -> str | None:
    """What is wrong with `{env: NAME}` or `{file: /path}`, or None."""
    from ingest_pipelines.config.base import Secret
    from ingest_pipelines.config.mistakes import first_mistake

    return first_mistake(Secret, reference)


def parts_proposal(path: str, files: Sequence[SourceFile]) -> PartsProposal | None:
    """The delivery that the file seems to be a part of, by the names of the files beside it."""
    from ingest_pipelines.detection import detect_parts

    folder, _, name = path.rpartition("/")
    return detect_parts(
        name, [file.path.rpartition("/")[2] for file in files if file.path.rpartition("/")[0] == folder]
    )


def delivery_of(path: str, proposal: PartsProposal, count: str) -> dict[str, Any]:
    """The source's `file` and `parts`.

    Args:
        count: how many parts an item has, where nothing else proves that all are there; "": as many as are there now.
    """
    folder, slash, _ = path.rpartition("/")
    keys: dict[str, Any] = dict(proposal.keys)
    if proposal.count is not None:
        keys["count"] = int(count) if count.isdecimal() and len(count) < 10 else count or proposal.count
    return {"file": folder + slash + proposal.file, "parts": keys}
