"""How much memory a Parquet file's pages take: each page is unpacked as a whole, and one of each column at a time.

Neither the footer nor pyarrow says how large pages are, and sizes in the footer are only claimed. So their headers are
read, which are Thrift structs (compact protocol), as parquet.thrift in github.com/apache/parquet-format defines them.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import FileIO
from pathlib import Path

import pyarrow.parquet as pq

HEADER = 4 << 10
"""Bytes of a page's header that are read at first; one with long statistics is read again, up to LARGEST_HEADER."""

LARGEST_HEADER = 16 << 20
"""What Arrow accepts."""

MOST_PAGES = 1_000_000
"""More are refused: to look at them takes too long. A gigabyte in pages of the usual size has 1,000."""

_UNPACKED, _PACKED = 2, 3
"""Fields of a PageHeader."""

_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(13)


def bytes_of_pages(path: Path, metadata: pq.FileMetaData) -> int:
    """The bytes of the largest page of each column together, unpacked.

    Raises:
        ValueError: a page's header cannot be read, or there are too many.
    """
    largest: dict[int, int] = {}
    pages = 0
    with path.open("rb", buffering=0) as file:
        for group in range(metadata.num_row_groups):
            row_group = metadata.row_group(group)
            for place in range(row_group.num_columns if row_group.num_rows else 0):
                chunk = row_group.column(place)
                starts = [chunk.data_page_offset]
                if chunk.has_dictionary_page and chunk.dictionary_page_offset:
                    starts.append(chunk.dictionary_page_offset)
                start = min(starts)
                for unpacked in _pages(file, start, start + chunk.total_compressed_size):
                    largest[place] = max(largest.get(place, 0), unpacked)
                    pages += 1
                    if pages > MOST_PAGES:
                        raise ValueError(f"more than {MOST_PAGES:,} pages")
    return sum(largest.values())


def _pages(file: FileIO, start: int, end: int) -> Iterator[int]:
    """The unpacked size of each page between these offsets."""
    while start < end:
        header = HEADER
        while True:
            file.seek(start)
            data = file.read(min(header, LARGEST_HEADER))
            try:
                fields, size = _struct(data, 0)
                break
            except RecursionError:
                raise ValueError("a page's header is nested too deep") from None
            except IndexError:
                if len(data) < header or header >= LARGEST_HEADER:
                    raise ValueError("a page's header has no end") from None
                header *= 8
        packed, unpacked = fields.get(_PACKED, -1), fields.get(_UNPACKED, -1)
        if packed < 0 or unpacked < 0:
            raise ValueError("a page's header has no size")
        yield unpacked
        start += size + packed


def _struct(data: bytes, place: int) -> tuple[dict[int, int], int]:
    """The whole numbers of the struct at `place`, by their fields, and where it ends.

    Raises:
        IndexError: it goes on beyond `data`.
        ValueError: it is none.
    """
    numbers: dict[int, int] = {}
    field = 0
    while (head := data[place]) != _STOP:
        place += 1
        kind, step = head & 15, head >> 4
        if step:
            field += step
        else:
            number, place = _varint(data, place)
            field = _zigzag(number)
        if kind in {_I16, _I32, _I64}:
            number, place = _varint(data, place)
            numbers[field] = _zigzag(number)
        elif kind not in {_TRUE, _FALSE}:
            place = _skipped(data, place, kind)
    return numbers, place + 1


def _skipped(data: bytes, place: int, kind: int) -> int:
    """Where the value at `place` ends."""
    if kind in {_TRUE, _FALSE, _BYTE}:  # inside a list a truth value is a byte
        return place + 1
    if kind in {_I16, _I32, _I64}:
        return _varint(data, place)[1]
    if kind == _DOUBLE:
        return place + 8
    if kind == _BINARY:
        size, place = _varint(data, place)
        return place + size
    if kind == _STRUCT:
        return _struct(data, place)[1]
    if kind in {_LIST, _SET}:
        head, place = data[place], place + 1
        count, of = head >> 4, head & 15
        if count == 15:
            count, place = _varint(data, place)
        for _ in range(count):
            place = _skipped(data, place, of)
        return place
    if kind == _MAP:
        count, place = _varint(data, place)
        kinds, place = (data[place], place + 1) if count else (0, place)
        for _ in range(count):
            place = _skipped(data, _skipped(data, place, kinds >> 4), kinds & 15)
        return place
    raise ValueError("a page's header has a value of an unknown kind")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
        shift += 7
        if shift > 63:
            raise ValueError("a page's header has a number of too many bytes")


def _zigzag(number: int) -> int:
    return (number >> 1) ^ -(number & 1)
