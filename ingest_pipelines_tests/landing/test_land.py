"""Landing: compressed items, caps, resuming, what stays on disk."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemChanged, ItemGone, ItemRefused, SourceUnavailable, Unavailable
from ingest_pipelines.landing import land_file
from ingest_pipelines.landing.land import RESUMES
from ingest_pipelines.model import Item, ItemKey, SourceFile
from ingest_pipelines_tests.landing.files import landed, read

CSV = b"id,name\n" + b"".join(b'%d,"name %d"\n' % (row, row) for row in range(50_000))
NOW = datetime(2026, 11, 22, tzinfo=UTC)
ITEM = Item("loyalty", ItemKey("k"), "file", uri="sftp://host/a.csv", path="a.csv", size=len(CSV), modified_at=NOW)


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return archive.getvalue()


COMPRESSED = {
    "gzip": ("a.csv.gz", gzip.compress(CSV)),
    "gzip, capital ending": ("a.CSV.GZ", gzip.compress(CSV)),
    "gzip of several members": ("a.csv.gz", gzip.compress(CSV[:999]) + gzip.compress(b"") + gzip.compress(CSV[999:])),
    "gzip with padding": ("a.csv.gz", gzip.compress(CSV) + b"\0" * 512),
    "zip": ("a.csv.zip", zipped({"anything.csv": CSV})),
    "zip, stored": ("a.zip", zipped({"a.csv": CSV}, zipfile.ZIP_STORED)),
    "zip with a folder": ("a.csv.zip", zipped({"folder/": b"", "folder/a.csv": CSV})),
    "zip made by a Mac": ("a.csv.zip", zipped({"a.csv": CSV, "__MACOSX/._a.csv": b"attributes"})),
    "zip with a name that climbs": ("a.csv.zip", zipped({"../../etc/cron.d/evil": CSV})),
}


@pytest.mark.parametrize("case", COMPRESSED)
def test_compressed_items_land_decompressed_under_the_hash_of_what_was_delivered(case: str, tmp_path: Path) -> None:
    name, content = COMPRESSED[case]
    landing = landed(content, tmp_path, name=name)
    assert landing.path.read_bytes() == CSV
    assert landing.content_sha256 == hashlib.sha256(content).hexdigest()
    assert (landing.bytes, landing.newlines, landing.quotes) == (len(CSV), 50_001, 100_000)
    assert landing.path == tmp_path / "spool" / f"{landing.content_sha256}.csv"
    assert list((tmp_path / "spool").iterdir()) == [landing.path]


def _encrypted() -> bytes:
    content = bytearray(zipped({"a.csv": CSV}))
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def _corrupt(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(byte ^ 0x55 for byte in content[middle : middle + 40]) + content[middle + 40 :]


DAMAGED = {
    "gzip cut short": ("a.csv.gz", gzip.compress(CSV)[:-9], "data is incomplete"),
    "gzip without its checksum": ("a.csv.gz", gzip.compress(CSV)[:-8], "data is incomplete"),
    "gzip damaged": ("a.csv.gz", _corrupt(gzip.compress(CSV)), "damaged, or not gzip"),
    "gzip with the wrong checksum": ("a.csv.gz", gzip.compress(CSV)[:-8] + b"\1" * 8, "damaged, or not gzip"),
    "gzip with something behind": ("a.csv.gz", gzip.compress(CSV) + b"id,name\n", "damaged, or not gzip"),
    "plain text named gzip": ("a.csv.gz", CSV, "ends in .gz, but it is not gzip data"),
    "empty gzip": ("a.csv.gz", b"", "data is incomplete"),
    "zip cut short": ("a.csv.zip", zipped({"a.csv": CSV})[:-30], "damaged, or not a zip"),
    "zip damaged": ("a.csv.zip", _corrupt(zipped({"a.csv": CSV})), "damaged, or not a zip"),
    "plain text named zip": ("a.csv.zip", CSV, "ends in .zip, but it is not zip data"),
    "zip of two files": ("a.csv.zip", zipped({"a.csv": CSV, "b.csv": CSV}), "holds 2 files; it must hold exactly one"),
    "zip of nothing": ("a.csv.zip", zipped({}), "holds no file"),
    "zip encrypted": ("a.csv.zip", _encrypted(), "is encrypted"),
    "zip with bzip2": ("a.csv.zip", zipped({"a.csv": CSV}, zipfile.ZIP_BZIP2), "other than deflate"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_compressed_items_are_refused_and_leave_nothing(case: str, tmp_path: Path) -> None:
    name, content, message = DAMAGED[case]
    with pytest.raises(ItemRefused, match=message) as refused:
        landed(content, tmp_path, name=name)
    assert name in refused.value.message
    assert refused.value.hint
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize("ending", [".gz", ".zip"])
def test_a_bomb_is_refused_long_before_it_has_expanded(ending: str, tmp_path: Path) -> None:
    bomb = b"0" * (64 << 20)
    content = gzip.compress(bomb, 1) if ending == ".gz" else zipped({"a.csv": bomb})
    with pytest.raises(ItemRefused, match="more than 20 times its compressed size"):
        landed(content, tmp_path, name=f"a.csv{ending}", limits=Limits(max_expansion=20))
    assert list((tmp_path / "spool").iterdir()) == []


@pytest.mark.parametrize("ending", [".gz", ".zip"])
def test_the_size_cap_counts_what_compressed_data_expands_to(ending: str, tmp_path: Path) -> None:
    content = gzip.compress(CSV) if ending == ".gz" else zipped({"a.csv": CSV})
    with pytest.raises(ItemRefused, match=f"larger than {len(CSV) - 1:,} bytes"):
        landed(content, tmp_path, name=f"a.csv{ending}", limits=Limits(max_bytes=len(CSV) - 1))
    assert landed(content, tmp_path, name=f"b.csv{ending}", limits=Limits(max_bytes=len(CSV))).bytes == len(CSV)


def test_a_small_file_may_expand_freely(tmp_path: Path) -> None:
    content = b"id,name\n" + b"1,x\n" * 200_000
    landing = landed(gzip.compress(content), tmp_path, name="a.csv.gz", limits=Limits(max_expansion=2))
    assert landing.bytes == len(content)


def test_the_same_bytes_land_under_the_same_name(tmp_path: Path) -> None:
    assert landed(CSV, tmp_path).path == landed(CSV, tmp_path, name="Customers_2.csv").path


def test_a_byte_order_mark_stays_in_the_spool_and_out_of_the_header(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + CSV
    assert landed(content, tmp_path).content_sha256 == hashlib.sha256(content).hexdigest()
    assert read(content, tmp_path, "id")[0] == ("id", "name")


class Flaky:
    """A source that breaks off: a stand-in, because a real one can't be told when to the byte."""

    def __init__(self, gives: list[int], content: bytes = CSV) -> None:
        self._gives = iter(gives)
        self.content = content
        self.offsets: list[int] = []
        self.state = SourceFile("a.csv", len(CSV), NOW)

    def stat(self, path: str, version: str = "") -> SourceFile:
        return self.state

    def read(self, path: str, offset: int = 0, version: str = "") -> Iterator[bytes]:
        self.offsets.append(offset)
        end = offset + next(self._gives, len(self.content))
        yield from (self.content[at : min(at + 1000, end)] for at in range(offset, min(end, len(self.content)), 1000))
        if end < len(self.content):
            raise SourceUnavailable("sftp://host broke off")


def test_a_read_that_breaks_off_goes_on_from_where_it_stopped(tmp_path: Path) -> None:
    source = Flaky([1000, 5500, 1])
    landing = land_file(ITEM, source, tmp_path, Limits())
    assert landing.path.read_bytes() == CSV
    assert source.offsets == [0, 1000, 6500, 6501]


def test_resuming_ends(tmp_path: Path) -> None:
    source = Flaky([1000] * 100)
    with pytest.raises(SourceUnavailable):
        land_file(ITEM, source, tmp_path, Limits())
    assert len(source.offsets) == RESUMES + 1
    source = Flaky([1000, 0, 0, 0, 0])
    with pytest.raises(SourceUnavailable):
        land_file(ITEM, source, tmp_path, Limits())
    assert len(source.offsets) == 3
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_changed_before_the_resume_is_not_patched_together(tmp_path: Path) -> None:
    source = Flaky([1000])
    first = source.state

    def changed(path: str, version: str = "") -> SourceFile:
        return first if not source.offsets else replace(first, modified_at=datetime.now(UTC))

    source.stat = changed  # type: ignore[method-assign]  # the second look sees another file
    with pytest.raises(ItemChanged):
        land_file(ITEM, source, tmp_path, Limits())
    assert source.offsets == [0]


def test_more_bytes_than_announced_are_a_change(tmp_path: Path) -> None:
    with pytest.raises(ItemChanged):
        land_file(ITEM, Flaky([], CSV + b"more\n"), tmp_path, Limits())


def test_fewer_bytes_than_announced_are_never_a_whole_file(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match=f"sent {len(CSV) - 5} of {len(CSV)} bytes"):
        land_file(ITEM, Flaky([], CSV[:-5]), tmp_path, Limits())


OTHER_TIME = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("item", "file"),
    [
        (replace(ITEM, size=1), {}),
        (replace(ITEM, modified_at=OTHER_TIME), {}),
        (replace(ITEM, version="v1"), {"version": "v2"}),
        (replace(ITEM, version="v1", size=1), {"version": "v1"}),
    ],
)
def test_an_item_is_the_file_that_was_listed_and_no_other(item: Item, file: dict[str, str], tmp_path: Path) -> None:
    source = Flaky([])
    source.state = replace(source.state, **file)  # type: ignore[arg-type]  # fields by name
    with pytest.raises(ItemGone, match="replaced since it was listed"):
        land_file(item, source, tmp_path, Limits())


def test_a_version_says_more_than_a_time(tmp_path: Path) -> None:
    source = Flaky([])
    source.state = replace(source.state, version="v1")
    item = replace(ITEM, version="v1", modified_at=OTHER_TIME)
    assert land_file(item, source, tmp_path, Limits()).path.read_bytes() == CSV


def test_a_full_disk_is_retryable_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    class Full(io.FileIO):
        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fdopen", lambda handle, *_, **__: Full(handle, "wb"))
    with pytest.raises(Unavailable, match="no space left") as full:
        land_file(ITEM, Flaky([]), tmp_path, Limits())
    assert full.value.retryable
    assert list(tmp_path.iterdir()) == []
