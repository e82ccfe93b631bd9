"""What `ingest new` asks about how a file is delivered: its keys, its other parts, other spellings of its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ingest_pipelines.actions.draft import MappedColumn, is_encrypted
from ingest_pipelines.actions.form_source import delivery_of, parts_proposal, secret_mistake
from ingest_pipelines.cli import screen
from ingest_pipelines.errors import IngestError, printable

if TYPE_CHECKING:
    from ingest_pipelines.cli.questions import Questions
    from ingest_pipelines.config.connections import FileConnection
    from ingest_pipelines.detection import Reading
    from ingest_pipelines.model import SourceFile

EARLIER_FILES = 2
"""So many other files of the import are looked into for other spellings of the header."""


def ask_for_keys(path: str, ask: Questions) -> dict[str, dict[str, str]]:
    """The source's `decrypt` for a file whose name says that it is encrypted; empty: it is not."""
    if not is_encrypted(path):
        return {}
    screen.note(f"  {printable(path)} is encrypted")
    private_key = ask.text(
        "decrypt.private_key: the file that holds it (- for none)",
        wrong=lambda answer: None if answer == "-" else _wrong_key_file(answer),
    ).removeprefix("-")
    missing = "without a private key the file has a passphrase of its own; name the variable that holds it"
    passphrase = ask.text(
        "decrypt.passphrase: name of the environment variable that holds it"
        + (" (empty: none)" if private_key else ""),
        "" if private_key else None,
        wrong=lambda answer: (missing if not private_key else None) if not answer else _wrong_variable(answer),
    )
    signed_by = ask.text(
        "decrypt.signed_by: the file with the sender's public key (empty: signatures are not verified)", "",
        wrong=_wrong_key_file,
    )  # fmt: skip
    given = {
        "private_key": {"file": private_key}, "passphrase": {"env": passphrase}, "signed_by": {"file": signed_by}
    }  # fmt: skip
    return {key: secret for key, secret in given.items() if all(secret.values())}


def _wrong_key_file(answer: str) -> str | None:
    return secret_mistake({"file": answer}) if answer else None


def _wrong_variable(answer: str) -> str | None:
    return secret_mistake({"env": answer})


def ask_for_parts(path: str, files: Sequence[SourceFile], ask: Questions) -> dict[str, Any]:
    """The source's `file` and `parts` for a file that is one of several of an item; empty: it is an item itself."""
    name, delivery = path.rpartition("/")[2], parts_proposal(path, files)
    if delivery is None:
        return {}
    screen.note(f"  {printable(name)} and others beside it are called like parts of one item")
    if not ask.agreed("are they loaded together, whole or not at all?"):
        return {}
    count = ""
    if delivery.count is not None:
        question = "nothing there says how many parts an item has; how many are they"
        count = ask.text(question, str(delivery.count), wrong=_wrong_count)
    return delivery_of(path, delivery, count)


def _wrong_count(answer: str) -> str | None:
    return None if answer.isdecimal() and int(answer) else "a whole number, 1 or more"


def with_spellings(
    columns: Sequence[MappedColumn],
    path: str,
    source: Mapping[str, Any],
    reading: Reading,
    connection: FileConnection,
    files: Sequence[SourceFile],
) -> list[MappedColumn]:
    """The columns, with `also` where another file of the import has another name for one of them."""
    from ingest_pipelines.actions.browsing import read_columns
    from ingest_pipelines.detection import match_fields
    from ingest_pipelines.sources.files import serial_of

    if "parts" in source or "decrypt" in source:
        return list(columns)
    file, pattern, endings = str(source["file"]), source.get("pattern"), reading.declared.endings
    others = [
        other for other in files if other.path != path and serial_of(other.path, file, pattern, endings) is not False
    ]
    others.sort(key=lambda file: file.modified_at, reverse=True)
    found = list(columns)
    for other in others[:EARLIER_FILES]:
        try:
            there = read_columns(connection, other.path, lambda *_: 0, [mapped.field for mapped in columns]).columns
        except IngestError:
            continue  # a run says what is wrong with it
        absent = [mapped for mapped in found if not {mapped.column, *_also(mapped)} & set(there)]
        new = [column for column in there if column not in reading.columns]
        meant = {**match_fields(new, [m.column for m in absent]), **match_fields(new, [m.field for m in absent])}
        for spelling, known in meant.items():
            place = next((n for n, m in enumerate(found) if m in absent and known in {m.column, m.field}), None)
            if place is None:
                continue
            mapped = found[place]
            names = f"{printable(mapped.column)} is called {printable(spelling)}"
            screen.note(f"  {names} in {printable(other.path)}: both are read")
            found[place] = replace(mapped, rules={**(mapped.rules or {}), "also": [*_also(mapped), spelling]})
            absent.remove(mapped)
    return found


def _also(mapped: MappedColumn) -> Sequence[str]:
    also = (mapped.rules or {}).get("also", ())
    assert isinstance(also, (list, tuple))
    return also
