"""What the pages have seen of sources: listings, samples, tests. Kept in memory only: samples are customers' data."""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ingest_pipelines.actions.browsing import list_files, list_tables, read_columns, read_own_query
from ingest_pipelines.actions.checking import test_connection
from ingest_pipelines.actions.draft import is_encrypted
from ingest_pipelines.actions.form_columns import Answers
from ingest_pipelines.actions.form_source import KEYS, OF_A_FILE, OF_A_QUERY, decrypt_of, query_of, secret_mistake
from ingest_pipelines.actions.new_import import Choices
from ingest_pipelines.actions.target import now
from ingest_pipelines.config.connections import Connection, FileConnection
from ingest_pipelines.errors import IngestError, UsageError
from ingest_pipelines.model import SourceFile
from ingest_pipelines.studio.workshop import Workshop

if TYPE_CHECKING:
    from ingest_pipelines.detection import Option, Reading

LISTING_SECONDS = 60.0
"""How old a listing may be before it is read again."""

MOST_SAMPLES = 32
MOST_ENTRIES = 1_000
"""Files or tables that a page shows."""


@dataclass(frozen=True)
class SourceListing:
    """What a connection has, or why that is not known.

    Attributes:
        folders: folder -> its files, the newest first.
        hidden: files or tables that are not shown: there are too many, or a browser cannot send their name.
        too_deep: files that no import can read.
    """

    folders: Mapping[str, Sequence[SourceFile]] = field(default_factory=dict)
    tables: Sequence[str] = ()
    hidden: int = 0
    too_deep: int = 0
    error: IngestError | None = None

    @property
    def paths(self) -> set[str]:
        """Everything that can be chosen."""
        return {file.path for files in self.folders.values() for file in files} | set(self.tables)


@dataclass(frozen=True)
class Sample:
    """The first rows of what the answers name, or why they are not known.

    Attributes:
        asked: questions where two formats read the file differently, their options, and the answer if there is one.
    """

    reading: Reading | None = None
    asked: Sequence[tuple[str, Sequence[Option], int | None]] = ()
    error: IngestError | None = None


class Sources:
    """Listings, samples and tests of connections, each kept as long as the connection stays as it is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listings: dict[str, tuple[Connection, float, SourceListing]] = {}
        self._samples: OrderedDict[str, tuple[Connection, Sample]] = OrderedDict()
        self._tests: dict[str, tuple[Connection, Mapping[str, Any]]] = {}
        self.workshop = Workshop()
        self.noted: set[tuple[str, str, str]] = set()

    def listing(self, name: str, connection: Connection, *, again: bool = False) -> SourceListing:
        """The connection's files or tables."""
        known = self._listings.get(name)
        if known and known[0] == connection and not again and time.monotonic() - known[1] < LISTING_SECONDS:
            return known[2]
        listing = _listed(connection)
        self._listings[name] = (connection, time.monotonic(), listing)
        return listing

    def forget(self, name: str) -> None:
        """The connection's listing is read again, and its samples are."""
        with self._lock:
            self._listings.pop(name, None)
            for key in [key for key in self._samples if json.loads(key)[0] == name]:
                del self._samples[key]

    def sample(self, name: str, connection: Connection, answers: Answers, fields: Sequence[str]) -> Sample | None:
        """The sample that the answers name; None: they name none yet."""
        reads_files = isinstance(connection, FileConnection)
        is_query = not reads_files and answers.get("reads") == "query"
        chosen = {key: value for key, value in answers.items() if key.startswith("choice:")}
        wanted = OF_A_QUERY if is_query else OF_A_FILE
        if not str(answers.get(wanted[0], "")).strip():
            return None
        key = json.dumps([name, is_query, [answers.get(one, "") for one in wanted], chosen], sort_keys=True)
        with self._lock:
            known = self._samples.get(key)
        if known is not None and known[0] == connection:
            return known[1]
        sample = self._sampled(name, connection, answers, fields, is_query=is_query)
        if sample.error is None:
            with self._lock:
                self._samples[key] = (connection, sample)
                while len(self._samples) > MOST_SAMPLES:
                    self._samples.popitem(last=False)
        return sample

    def _sampled(
        self, name: str, connection: Connection, answers: Answers, fields: Sequence[str], *, is_query: bool
    ) -> Sample:
        choices = Choices(answers, [])
        try:
            if is_query:
                _require_cursor(answers)
                return Sample(read_own_query(connection, query_of(answers), now()))
            path = str(answers["path"])
            if path not in self.listing(name, connection).paths:  # what a browser sends names one of ours, or nothing
                raise UsageError("the file or table is not there any more", hint="choose another one")
            decrypt = _keys(answers, path)
            return Sample(read_columns(connection, path, choices, fields, decrypt), tuple(choices.asked))
        except IngestError as error:
            return Sample(asked=tuple(choices.asked), error=error)

    def test(self, name: str, connection: Connection) -> None:
        """Tests the connection step by step."""
        self._tests[name] = (connection, test_connection(name, connection))

    def tested(self, name: str, connection: Connection) -> Mapping[str, Any] | None:
        """The last test of the connection as it is."""
        known = self._tests.get(name)
        return known[1] if known and known[0] == connection else None


def _require_cursor(answers: Answers) -> None:
    """A cursor that a person is naming has its column and its start.

    Raises:
        UsageError: one of them is missing.
    """
    cursor = query_of(answers).get("cursor")
    if cursor is not None and "" in {cursor["column"], cursor["start"]}:
        raise UsageError("the cursor is not complete", hint="name its column and its first value")


def _keys(answers: Answers, path: str) -> Mapping[str, Mapping[str, str]] | None:
    """`decrypt` of an encrypted file; None: it is not encrypted.

    Raises:
        UsageError: no key is named, or one is not there.
    """
    if not is_encrypted(path):
        return None
    keys = decrypt_of(answers, path)
    if not {"private_key", "passphrase"} & keys.keys():
        raise UsageError("the file is encrypted", hint="name the variable with its private key, or its passphrase")
    for key in KEYS:
        if key in keys and (mistake := secret_mistake(keys[key])):
            raise UsageError(f"decrypt.{key}: {mistake}", hint="set it where the studio is started")
    return keys


def _listed(connection: Connection) -> SourceListing:
    try:
        if not isinstance(connection, FileConnection):
            tables = list_tables(connection)
            shown = [name for name in tables if _sendable(name)][:MOST_ENTRIES]
            return SourceListing(tables=shown, hidden=len(tables) - len(shown))
        listing = list_files(connection)
    except IngestError as error:
        return SourceListing(error=error)
    newest = sorted(listing.files, key=lambda file: file.modified_at, reverse=True)
    shown_files = [file for file in newest if _sendable(file.path)][:MOST_ENTRIES]
    folders: dict[str, list[SourceFile]] = {}
    for file in shown_files:
        folders.setdefault(file.path.rpartition("/")[0], []).append(file)
    ordered = dict(sorted(folders.items()))
    return SourceListing(ordered, hidden=len(newest) - len(shown_files), too_deep=listing.too_deep)


def _sendable(name: str) -> bool:
    """Whether a page can carry the name, and a browser send it back unchanged."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return not {"\r", "\n", "\0"} & set(name)
