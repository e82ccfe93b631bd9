"""Marks: 32 bits of a fast keyed hash, computed for a whole column at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest_pipelines.suppression import HASH_BYTES

Marks = NDArray[np.uint32]

_ENTRY = np.dtype([("mark", ">u4"), ("hash", f"V{HASH_BYTES}")])
_ODD = np.uint64(0x9E3779B97F4A7C15)
_OTHER_ODD = np.uint64(0xBF58476D1CE4E5B9)
_MASKS = np.array([(1 << 8 * length) - 1 for length in range(9)], np.uint64)
"""By the number of bytes of a text that are left: which bits of the next eight bytes are its own."""

_BITS_PER_ENTRY = 64
_LEAST_BITS, _MOST_BITS = 1 << 16, 1 << 24


def marks_of_texts(secret: bytes, texts: Sequence[str]) -> list[int]:
    """The marks of some texts."""
    return [int(mark) for mark in marks(secret, pl.Series(texts, dtype=pl.String))]


def marks(secret: bytes, texts: pl.Series) -> Marks:
    """The marks of a column of texts; of NULL that of the empty text."""
    array: Any = texts.to_arrow(compat_level=pl.CompatLevel.oldest())
    rows = len(array)
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + rows + 1]
    starts, lengths = offsets[:-1], np.diff(offsets)
    hashes: NDArray[np.uint64] = _seed(secret) ^ (lengths.astype(np.uint64) * _OTHER_ODD)
    longest, shortest = int(lengths.max(initial=0)), int(lengths.min(initial=2**31))
    if longest:
        content = np.frombuffer(array.buffers()[2], np.uint8)[: int(offsets[-1])]
        padded = np.concatenate([content, np.zeros(8, np.uint8)])
        words: Any = np.ndarray((len(padded) - 7,), "<u8", padded.data, strides=(1,))
        for at in range(0, longest, 8):
            if at + 8 <= shortest:
                hashes = _mixed(hashes, words[starts + at])
                continue
            there = np.flatnonzero(lengths > at)
            word = words[starts[there] + at] & _MASKS[np.minimum(lengths[there] - at, 8)]
            hashes[there] = _mixed(hashes[there], word)
    return (((hashes ^ (hashes >> np.uint64(31))) * _OTHER_ODD) >> np.uint64(32)).astype(np.uint32)


def _mixed(hashes: NDArray[np.uint64], words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = (hashes ^ words) * _ODD
    return mixed ^ (mixed >> np.uint64(29))


@cache
def _seed(secret: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(b"mark" + secret).digest()[:8], "little"))


@dataclass(frozen=True)
class Marked:
    """Entries, to be found by their marks.

    Attributes:
        packed: mark and hash of each, one after another.
    """

    secret: bytes
    packed: bytes

    def among(self, texts: pl.Series, hash_of: Callable[[str], bytes]) -> pl.Series:
        """Which of the texts have an entry; `hash_of` is called for those that have an entry's mark."""
        found = np.zeros(len(texts), np.bool_)
        if self.packed and len(texts):
            own = marks(self.secret, texts)
            at = own >> self._shift
            likely = np.flatnonzero(self._bits[at >> np.uint32(3)] >> (at & np.uint32(7)).astype(np.uint8) & 1)
            entry_marks, hashes = self._sorted
            first = np.searchsorted(entry_marks, own[likely])
            last = np.searchsorted(entry_marks, own[likely], side="right")
            for place in np.flatnonzero(first < last):
                text = texts[int(likely[place])]
                if text is not None:
                    same_mark = {hashes[entry].tobytes() for entry in range(first[place], last[place])}
                    found[likely[place]] = hash_of(text) in same_mark
        return pl.Series(found)

    @cached_property
    def _sorted(self) -> tuple[Marks, Any]:
        """Marks, ascending, and the hash beside each."""
        entries = np.frombuffer(self.packed, _ENTRY)
        entry_marks = entries["mark"].astype(np.uint32)
        order = np.argsort(entry_marks)
        return entry_marks[order], entries["hash"][order]

    @cached_property
    def _bits(self) -> NDArray[np.uint8]:
        """A bit per upper part of a mark: set if an entry has it."""
        entry_marks, _ = self._sorted
        bits = np.zeros((1 << 32 - int(self._shift)) >> 3, np.uint8)
        at = entry_marks >> self._shift
        np.bitwise_or.at(bits, at >> np.uint32(3), (1 << (at & np.uint32(7))).astype(np.uint8))
        return bits

    @cached_property
    def _shift(self) -> np.uint32:
        wanted = len(self.packed) // _ENTRY.itemsize * _BITS_PER_ENTRY
        size = min(_MOST_BITS, max(_LEAST_BITS, 1 << wanted.bit_length()))
        return np.uint32(33 - size.bit_length())
