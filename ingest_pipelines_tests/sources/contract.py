"""What every file source keeps; one class of tests, run against every real server.

A source's test module subclasses `SourceContract` (and `NetworkContract`) and gives it a `place`.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import random
import re
import time
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pytest

from ingest_pipelines.config.connections import FileConnection
from ingest_pipelines.config.file_parts import Parts
from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import IngestError, ItemChanged, ItemGone, ItemRefused, SourceDenied, SourceUnavailable
from ingest_pipelines.landing import ListedPart, land_file, land_parts
from ingest_pipelines.model import Item, Landing, SourceFile
from ingest_pipelines.sources import open_files
from ingest_pipelines.sources.base import CHUNK, FileSource
from ingest_pipelines.sources.files import item_of
from ingest_pipelines.sources.parts import file_set_of, file_sets
from ingest_pipelines_tests.servers.cut_proxy import CutProxy, Fault

HOSTILE_NAMES = [
    "line\nbreak.csv",
    "\x1b[31mred\x1b[0m.csv",
    "carriage\rreturn\ttab.csv",
    "per%20cent%.csv",
    "-rf *.csv",
    "q'uo\"te`$(touch x).csv",
    "back\\slash.csv",
    " leading and trailing .csv ",
    "em😀ji.csv",
    "right-to-left\u202e.csv",
    unicodedata.normalize("NFC", "Müller.csv"),
    unicodedata.normalize("NFD", "Müller.csv"),
    "x" * 251 + ".csv",
    "?query#fragment.csv",
]

INVISIBLE_NAMES = [".hidden.csv", "a.csv.part", "b.csv.tmp", "c.csv.filepart", "d.csv~", "E.CSV.PART", ".~lock.x.csv#"]

OUTSIDE = ["../secret.csv", "a/../../secret.csv", "/etc/passwd", "", ".", "a//b.csv", "a/./b.csv", "a\0.csv"]

MANY = 1100


class BucketServer(Protocol):
    """Where a bucket is."""

    @property
    def port(self) -> int: ...


class Bucket(Protocol):
    """A bucket that only this test uses."""

    @property
    def server(self) -> BucketServer: ...

    def put_many(self, keys: Iterable[str], content: bytes) -> object: ...


class Place(Protocol):
    """A folder on a server that only this test uses, and how to change it behind the source's back."""

    secrets: tuple[str, ...]
    unkept: frozenset[str]
    """Hostile names that the server itself can't keep."""

    def source(self) -> FileSource:
        """A source of this folder, not entered yet."""
        ...

    def put(self, path: str, content: bytes) -> None:
        """Writes the file; its modified time is now."""
        ...

    def put_many(self, paths: Iterable[str], content: bytes) -> None:
        """Writes the same content to all the paths."""
        ...

    def get(self, path: str) -> bytes | None:
        """The file's content, or None."""
        ...


class NetworkPlace(Place, Protocol):
    """A place behind a network."""

    def denied(self) -> dict[str, FileSource]:
        """Sources that the server refuses, by the probe's step that fails."""
        ...

    def through(self, proxy: CutProxy, *, timeout_seconds: float = 30, retries: int = 3) -> FileSource:
        """A source of this folder that connects through the proxy."""
        ...

    def port(self) -> int:
        """Where the server listens on 127.0.0.1."""
        ...


class SecretFiles:
    """Secrets as connections refer to them: each in a file of its own."""

    def __init__(self, secrets_folder: Path) -> None:
        self.secrets_folder = secrets_folder

    def secret(self, value: str) -> dict[str, str]:
        """The value as a reference to a file."""
        path = self.secrets_folder / f"secret{len(list(self.secrets_folder.iterdir()))}"
        path.write_text(value)
        return {"file": str(path)}


class BucketPlace(ABC):
    """A prefix `inbox` in a bucket."""

    bucket: Bucket

    @abstractmethod
    def connection(self, **changes: object) -> FileConnection:
        """A connection of this place."""

    def source(self) -> FileSource:
        return open_files(self.connection())

    def through(self, proxy: CutProxy, *, timeout_seconds: float = 30, retries: int = 3) -> FileSource:
        endpoint = f"http://127.0.0.1:{proxy.port}"
        return open_files(self.connection(endpoint_url=endpoint, timeout_seconds=timeout_seconds, retries=retries))

    def port(self) -> int:
        return self.bucket.server.port

    def put_many(self, paths: Iterable[str], content: bytes) -> None:
        self.bucket.put_many((f"inbox/{path}" for path in paths), content)


def item_in(source: FileSource, path: str) -> Item:
    """The file as an import's item."""
    return item_of("loyalty", source.stat(path), source.uri(path))


class SourceContract:
    """The obligations of `FileSource`, and what landing makes of it."""

    @pytest.fixture
    def source(self, place: Place) -> Iterator[FileSource]:
        with place.source() as source:
            yield source

    def test_an_empty_place_lists_nothing(self, source: FileSource) -> None:
        found = source.listing()
        assert (found.files, found.too_deep) == ((), 0)

    def test_files_are_listed_two_folders_deep_and_deeper_ones_counted(self, place: Place, source: FileSource) -> None:
        for path in ("b.csv", "a/b.csv", "a/b/c.csv", "a/b/c/d.csv", "a/b/c/e.csv", "a/b/c/d/e/f.csv", "a/z.csv"):
            place.put(path, path.encode())
        found = source.listing()
        assert [file.path for file in found.files] == ["a/b.csv", "a/b/c.csv", "a/z.csv", "b.csv"]
        assert found.too_deep == 3
        assert [file.path for file in source.listing("a/b").files] == ["a/b/c.csv"]
        assert source.listing("a/b").too_deep == 3
        alone = source.listing("a", nested=False)
        assert [file.path for file in alone.files] == ["a/b.csv", "a/z.csv"]
        assert alone.too_deep == 0

    def test_a_listing_knows_size_and_time(self, place: Place, source: FileSource) -> None:
        before = datetime.now(UTC).timestamp()
        place.put("a.csv", b"12345")
        (file,) = source.listing().files
        assert file.size == 5
        assert file.modified_at.tzinfo is not None
        assert before - 2 <= file.modified_at.timestamp() <= time.time() + 2
        assert source.stat("a.csv") == file

    def test_hidden_and_partial_names_are_invisible(self, place: Place, source: FileSource) -> None:
        for name in INVISIBLE_NAMES:
            place.put(name, b"x")
            place.put(f"folder/{name}", b"x")
        place.put("folder/seen.csv", b"x")
        assert [file.path for file in source.listing().files] == ["folder/seen.csv"]

    def test_hostile_names_are_only_data(self, place: Place, source: FileSource, tmp_path: Path) -> None:
        names = [name for name in HOSTILE_NAMES if name not in place.unkept]
        for name in names:
            place.put(name, name.encode())
        files = source.listing().files
        assert sorted(file.path for file in files) == sorted(names)
        keys, uris = set(), set()
        for file in files:
            item = item_of("loyalty", file, source.uri(file.path))
            landing = land_file(item, source, tmp_path, Limits())
            assert landing.path.read_bytes() == file.path.encode()
            assert re.fullmatch(r"[0-9a-f]{64}\.csv", landing.path.name)
            assert re.fullmatch(r"[A-Za-z0-9._-]{1,200}", item.key)
            assert item.uri.isascii()
            assert item.uri.isprintable()
            keys.add(item.key)
            uris.add(item.uri)
        assert len(keys) == len(uris) == len(names)
        assert len(list(tmp_path.iterdir())) == len(names)

    @pytest.mark.parametrize("path", OUTSIDE)
    def test_no_path_leads_out_of_the_place(self, source: FileSource, path: str) -> None:
        with pytest.raises(ItemGone):
            source.stat(path)
        with pytest.raises(ItemGone):
            list(source.read(path))

    def test_a_name_of_four_thousand_characters_is_just_not_there(self, source: FileSource) -> None:
        with pytest.raises(ItemGone):
            source.stat("x" * 4096 + ".csv")

    def test_a_missing_file_is_gone(self, source: FileSource) -> None:
        with pytest.raises(ItemGone, match=r"missing\.csv"):
            source.stat("missing.csv")
        with pytest.raises(ItemGone, match=r"missing\.csv"):
            list(source.read("folder/missing.csv"))

    def test_an_item_that_was_deleted_since_it_was_listed_is_gone(
        self, place: Place, source: FileSource, tmp_path: Path
    ) -> None:
        place.put("a.csv", b"id\n1\n")
        item = item_in(source, "a.csv")
        source.move("a.csv", "archive")
        with pytest.raises(ItemGone):
            land_file(item, source, tmp_path, Limits())
        assert list(tmp_path.iterdir()) == []

    def test_an_item_that_was_replaced_since_it_was_listed_is_gone(
        self, place: Place, source: FileSource, tmp_path: Path
    ) -> None:
        place.put("a.csv", b"id\n1\n")
        item = item_in(source, "a.csv")
        place.put("a.csv", b"id\n1\n2\n")
        with pytest.raises(ItemGone, match="replaced since it was listed"):
            land_file(item, source, tmp_path, Limits())

    @pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 12345])
    def test_every_byte_arrives_once_in_order(self, place: Place, source: FileSource, size: int) -> None:
        content = _noise(size)
        place.put("a.csv", content)
        chunks = list(source.read("a.csv"))
        assert b"".join(chunks) == content
        assert all(0 < len(chunk) <= CHUNK for chunk in chunks)

    @pytest.mark.parametrize("offset", [1, CHUNK, 2 * CHUNK + 77, 3 * CHUNK - 1, 3 * CHUNK])
    def test_a_read_starts_where_it_is_told_to(self, place: Place, source: FileSource, offset: int) -> None:
        content = _noise(3 * CHUNK)
        place.put("a.csv", content)
        assert b"".join(source.read("a.csv", offset)) == content[offset:]

    def test_a_read_may_be_given_up(self, place: Place, source: FileSource) -> None:
        content = _noise(3 * CHUNK)
        place.put("a.csv", content)
        for _ in range(3):
            chunks = source.read("a.csv")
            assert content.startswith(next(iter(chunks)))
            chunks.close()  # type: ignore[attr-defined]  # a generator, whatever the protocol says
        assert b"".join(source.read("a.csv")) == content

    def test_a_landed_item_is_the_delivered_bytes(self, place: Place, source: FileSource, tmp_path: Path) -> None:
        content = b'id,name\n1,"a"\n' * 200_000
        place.put("folder/a.csv", content)
        landing = land_file(item_in(source, "folder/a.csv"), source, tmp_path, Limits())
        assert landing.path.read_bytes() == content
        assert landing.content_sha256 == hashlib.sha256(content).hexdigest()
        assert (landing.bytes, landing.newlines, landing.quotes) == (len(content), 400_000, 400_000)
        assert list(tmp_path.iterdir()) == [landing.path]

    @pytest.mark.parametrize("replacement", ["longer", "shorter", "same size"])
    def test_a_file_that_changes_while_it_is_read_is_not_landed(
        self, place: Place, source: FileSource, tmp_path: Path, replacement: str
    ) -> None:
        content = _noise(9 * CHUNK)
        place.put("a.csv", content)
        item = item_in(source, "a.csv")
        time_of_first = source.stat("a.csv").modified_at
        other = {"longer": content * 2, "shorter": content[: 5 * CHUNK], "same size": content[::-1]}[replacement]

        def change() -> None:
            place.put("a.csv", other)
            while source.stat("a.csv").modified_at == time_of_first:  # servers whose clock ticks once a second
                place.put("a.csv", other)

        with pytest.raises(ItemChanged, match="changed while it was read"):
            land_file(item, _After(source, 2, change), tmp_path, Limits())
        assert list(tmp_path.iterdir()) == []

    def test_a_file_above_the_cap_is_refused_before_it_is_read(
        self, place: Place, source: FileSource, tmp_path: Path
    ) -> None:
        place.put("a.csv", b"x" * 1001)
        with pytest.raises(ItemRefused, match="larger than 1,000 bytes"):
            land_file(item_in(source, "a.csv"), source, tmp_path, Limits(max_bytes=1000))
        assert list(tmp_path.iterdir()) == []

    def test_a_file_that_expands_above_the_cap_is_refused_before_the_rest_is_read(
        self, place: Place, source: FileSource, tmp_path: Path
    ) -> None:
        place.put("a.csv.gz", gzip.compress(bytes(5 * CHUNK) + _noise(2 * CHUNK), 1))
        item, limits = item_in(source, "a.csv.gz"), Limits(max_bytes=4 * CHUNK)
        asked_for_more: list[bool] = []
        first_only = _After(source, 1, lambda: asked_for_more.append(True))
        with pytest.raises(ItemRefused, match=f"larger than {4 * CHUNK:,} bytes"):
            land_file(item, first_only, tmp_path, limits)
        assert not asked_for_more
        assert list(tmp_path.iterdir()) == []

    def test_the_parts_of_an_item_are_landed_together_or_not_at_all(
        self, place: Place, source: FileSource, tmp_path: Path
    ) -> None:
        texts = {f"drop/C_1_part{number}.csv": f"id\n{number}\n".encode() for number in (1, 2)}
        for path, text in texts.items():
            place.put(path, text)
        hashes = [hashlib.sha256(text).hexdigest() for text in texts.values()]
        place.put("drop/C_1.txt", "".join(f"{h}  C_1_part{n}.csv\n" for n, h in enumerate(hashes, 1)).encode())
        declared = Parts(pattern=r"C_(?P<serial>\d+)_part(?P<part>\d+)\.csv", manifest="C_{serial}.txt")
        [found] = file_sets(source.listing("drop", nested=False), "drop", declared)
        item = found.item("loyalty", source.uri(found.parts[0].path))
        delivery, manifest = file_set_of(item, source, "drop", declared)
        assert [manifest[file.path.removeprefix("drop/")].sha256 for file in delivery.parts] == hashes
        parts = [ListedPart(n, item_in(source, path)) for n, path in enumerate(texts, 1)]

        def land(part: Item, limits: Limits) -> Landing:
            return land_file(part, source, tmp_path / "spool", limits)

        landing = land_parts(item, parts, (), Limits(), land)
        assert [path.read_bytes() for path in landing.paths] == list(texts.values())
        place.put("drop/C_1_part2.csv", b"id\n22\n")
        with pytest.raises(ItemGone, match="no longer those that were listed"):
            file_set_of(item, source, "drop", declared)

    def test_many_files_are_listed_to_the_last(self, place: Place, source: FileSource) -> None:
        names = [f"drop/Customers_{serial}.csv" for serial in range(MANY)]
        place.put_many(names, b"id\n")
        assert [file.path for file in source.listing().files] == sorted(names)

    def test_a_file_is_archived_once_however_often_it_is_asked_for(self, place: Place, source: FileSource) -> None:
        place.put("drop/a.csv", b"1")
        for _ in range(3):
            source.move("drop/a.csv", "archive/loyalty")
        assert place.get("drop/a.csv") is None
        assert place.get("archive/loyalty/a.csv") == b"1"

    def test_archiving_never_overwrites_what_is_archived(self, place: Place, source: FileSource) -> None:
        for content in (b"1", b"22"):
            place.put("drop/a.csv", content)
            source.move("drop/a.csv", "archive")
        archived = [file.path for file in source.listing("archive").files]
        assert len(archived) == 2
        assert {place.get(path) for path in archived} == {b"1", b"22"}

    def test_a_file_that_was_replaced_after_its_load_stays_where_it_is(self, place: Place, source: FileSource) -> None:
        place.put("drop/a.csv", b"1")
        loaded = source.stat("drop/a.csv")
        place.put("drop/a.csv", b"22")
        with pytest.raises(ItemChanged, match="stays where it is"):
            source.move("drop/a.csv", "archive", loaded)
        assert place.get("drop/a.csv") == b"22"

    def test_archiving_a_file_that_never_was_is_an_error(self, source: FileSource) -> None:
        with pytest.raises(ItemGone):
            source.move("drop/never.csv", "archive")

    def test_a_file_is_written_whole_and_replaces_one_of_its_name(
        self, place: Place, source: FileSource, tmp_path: Path
    ) -> None:
        local = tmp_path / "answer"
        for content in (b"first", b"", b"x" * 300_000):
            local.write_bytes(content)
            for _ in range(2):
                source.write("outbox/2026/Points 7.csv.receipt.json", local)
            assert place.get("outbox/2026/Points 7.csv.receipt.json") == content
        assert [file.path for file in source.listing("outbox").files] == ["outbox/2026/Points 7.csv.receipt.json"]

    def test_a_good_connection_passes_every_step_of_its_test(self, place: Place) -> None:
        place.put("a.csv", b"1")
        steps = list(place.source().probe())
        assert all(step.ok for step in steps), steps
        assert steps[-1].name == "listing"
        assert "1 file" in steps[-1].detail

    def test_a_source_can_be_entered_again(self, place: Place) -> None:
        source = place.source()
        for number in range(3):
            with source:
                place.put(f"{number}.csv", b"x")
                assert len(source.listing().files) == number + 1

    def test_no_secret_shows_in_anything_it_says(self, place: Place, caplog: pytest.LogCaptureFixture) -> None:
        said: list[str] = []
        with caplog.at_level(logging.DEBUG):
            source = place.source()
            said += [str(step) for step in source.probe()]
            with source:
                place.put("a.csv", b"1")
                said += [source.uri("a.csv"), repr(source.listing()), repr(source), str(vars(source).keys())]
                for path in OUTSIDE:
                    with pytest.raises(IngestError) as refused:
                        source.stat(path)
                    said.append(f"{refused.value} {refused.value!r}")
        said.append(caplog.text)
        assert not [secret for secret in place.secrets if any(secret in text for text in said)]


class NetworkContract:
    """What a source keeps when the network or the server misbehaves."""

    def test_a_refused_connection_names_the_step_and_what_to_do(self, place: NetworkPlace) -> None:
        for step, source in place.denied().items():
            steps = list(source.probe())
            assert [each.name for each in steps if not each.ok] == [step], steps
            assert steps[-1].name == step
            assert steps[-1].hint
            with pytest.raises((SourceDenied, SourceUnavailable)) as refused, source:
                source.listing()
            text = f"{refused.value} {refused.value!r} {steps}"
            assert not [secret for secret in place.secrets if secret in text]

    @pytest.mark.parametrize("percent", [1, 50, 99])
    @pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
    def test_a_cut_transfer_goes_on_where_it_stopped(
        self,
        place: NetworkPlace,
        cut_proxy: Callable[[str, int], CutProxy],
        tmp_path: Path,
        percent: int,
        reset: bool,
    ) -> None:
        content = _noise(12 * CHUNK)
        place.put("a.csv", content)
        proxy = cut_proxy("127.0.0.1", place.port())
        with place.through(proxy) as source:
            item = item_in(source, "a.csv")
            read: list[int] = []
            cut = _Cut(source, proxy, len(content) * percent // 100, read, reset=reset)
            landing = land_file(item, cut, tmp_path, Limits())
        assert proxy.cuts >= 1
        assert landing.path.read_bytes() == content
        assert sum(read) < len(content) + 2 * CHUNK  # nothing was fetched twice but a chunk in flight

    def test_a_server_that_keeps_breaking_off_is_unavailable(
        self, place: NetworkPlace, cut_proxy: Callable[[str, int], CutProxy], tmp_path: Path
    ) -> None:
        place.put("a.csv", _noise(8 * CHUNK))
        proxy = cut_proxy("127.0.0.1", place.port())
        with place.through(proxy, retries=0) as source:
            item = item_in(source, "a.csv")
            proxy.break_with(Fault(cut_after_received=200_000))
            with pytest.raises(SourceUnavailable):
                land_file(item, source, tmp_path, Limits())
        assert list(tmp_path.iterdir()) == []

    def test_a_connection_refused_at_first_is_tried_again(
        self, place: NetworkPlace, cut_proxy: Callable[[str, int], CutProxy]
    ) -> None:
        place.put("a.csv", b"1")
        proxy = cut_proxy("127.0.0.1", place.port())
        proxy.break_with(Fault(refuse_first=2))
        with place.through(proxy) as source:
            assert [file.path for file in source.listing().files] == ["a.csv"]

    def test_a_server_that_falls_silent_is_given_up_in_time(
        self, place: NetworkPlace, cut_proxy: Callable[[str, int], CutProxy]
    ) -> None:
        place.put("a.csv", b"1")
        proxy = cut_proxy("127.0.0.1", place.port())
        with place.through(proxy, timeout_seconds=1, retries=0) as source:
            source.listing()
            proxy.break_with(Fault(silent=True))
            started = time.monotonic()
            with pytest.raises(SourceUnavailable):
                source.listing()
            assert time.monotonic() - started < 10

    def test_a_slow_server_is_waited_for(
        self, place: NetworkPlace, cut_proxy: Callable[[str, int], CutProxy], tmp_path: Path
    ) -> None:
        content = _noise(CHUNK)
        place.put("a.csv", content)
        proxy = cut_proxy("127.0.0.1", place.port())
        proxy.break_with(Fault(delay_seconds=0.02))
        with place.through(proxy) as source:
            landing = land_file(item_in(source, "a.csv"), source, tmp_path, Limits())
        assert landing.path.read_bytes() == content

    def test_a_server_that_is_not_there_is_unavailable(
        self, place: NetworkPlace, cut_proxy: Callable[[str, int], CutProxy]
    ) -> None:
        proxy = cut_proxy("127.0.0.1", place.port())
        proxy.break_with(Fault(refuse=True))
        source = place.through(proxy, retries=1)
        with pytest.raises(SourceUnavailable), source:
            source.listing()
        steps = list(source.probe())
        assert not steps[-1].ok
        assert steps[-1].hint


class _After:
    """A source during whose read something happens, after some chunks."""

    def __init__(self, source: FileSource, chunks: int, happens: Callable[[], None]) -> None:
        self._source, self._chunks, self._happens = source, chunks, happens

    def stat(self, path: str, version: str = "") -> SourceFile:
        return self._source.stat(path, version)

    def read(self, path: str, offset: int = 0, version: str = "") -> Iterator[bytes]:
        for number, chunk in enumerate(self._source.read(path, offset, version)):
            yield chunk
            if number + 1 == self._chunks:
                self._happens()


class _Cut:
    """A source whose connection is cut once, when so many bytes of the file have arrived."""

    def __init__(self, source: FileSource, proxy: CutProxy, at: int, read: list[int], *, reset: bool) -> None:
        self._source, self._proxy, self._at, self._read, self._reset = source, proxy, at, read, reset
        self._done = False

    def stat(self, path: str, version: str = "") -> SourceFile:
        found = self._source.stat(path, version)
        if not self._done:
            self._proxy.break_with(Fault(cut_after_received=self._at, reset=self._reset))
            self._done = True
        return found

    def read(self, path: str, offset: int = 0, version: str = "") -> Iterator[bytes]:
        try:
            for chunk in self._source.read(path, offset, version):
                self._read.append(len(chunk))
                yield chunk
        finally:
            self._proxy.mend()


def _noise(size: int) -> bytes:
    """Bytes that repeat nowhere near a chunk, so that a lost or doubled one shows."""
    return random.Random(1).randbytes(size)
