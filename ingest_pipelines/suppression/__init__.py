"""People who are kept out: keyed hashes of what identified those whom `ingest forget` erased. Pure.

An entry is an HMAC-SHA-256, cut to 16 bytes, of a table, a kind of identity (`key`, `email` ...) and a value in the
form in which rows are compared. To hash every row like that would cost a load a tenth of its time. So an entry also has
a mark, 32 bits of a fast keyed hash (`marks`): the marks of a whole column are computed at once, and only rows whose
mark is that of an entry are hashed. Neither says anything without the secret, which the ledger keeps beside them.

Nothing heavy is imported before a value is compared: commands that read the ledger import this.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import polars as pl

    from ingest_pipelines.suppression.marks import Marked

MARK_BYTES, HASH_BYTES = 4, 16


class SuppressedEntry(NamedTuple):
    """One identity of one person, as the ledger keeps it.

    Attributes:
        kind: what is identified by it; see `config.identities`.
        mark: 32 bits; entries of different people may share one.
    """

    kind: str
    mark: int
    hash: bytes

    @property
    def packed(self) -> bytes:
        """The mark, big-endian, and the hash."""
        return self.mark.to_bytes(MARK_BYTES, "big") + self.hash


@dataclass(frozen=True)
class SuppressionSecret:
    """What makes the hashes of this installation useless to everybody who does not have it."""

    value: bytes

    def entries(self, table: str, kind: str, texts: Iterable[str]) -> list[SuppressedEntry]:
        """The entries of these values."""
        from ingest_pipelines.suppression.marks import marks_of_texts

        values = list(texts)
        marks = marks_of_texts(self.value, values)
        return [
            SuppressedEntry(kind, mark, self.hash(table, kind, text)) for text, mark in zip(values, marks, strict=True)
        ]

    def hash(self, table: str, kind: str, text: str) -> bytes:
        """The hash of one value."""
        return hmac.digest(self.value, "\0".join((table, kind, text)).encode(), "sha256")[:HASH_BYTES]


@dataclass(frozen=True)
class Suppressed:
    """The entries of one table; false where there are none.

    Attributes:
        packed: the entries, one after another.
        newest: the number of the newest entry of the table; 0: there is none.
    """

    table: str = ""
    secret: SuppressionSecret = SuppressionSecret(b"")
    packed: bytes = b""
    newest: int = 0

    @classmethod
    def of(cls, table: str, secret: SuppressionSecret, entries: Iterable[SuppressedEntry]) -> Suppressed:
        """The same for entries that are at hand."""
        return cls(table, secret, b"".join(entry.packed for entry in entries))

    def __bool__(self) -> bool:
        return bool(self.packed)

    def among(self, kind: str, texts: pl.Series) -> pl.Series:
        """Which of the values are suppressed; NULL is not."""
        return self._marked.among(texts, lambda text: self.secret.hash(self.table, kind, text))

    @cached_property
    def _marked(self) -> Marked:
        from ingest_pipelines.suppression.marks import Marked

        return Marked(self.secret.value, self.packed)


NOBODY = Suppressed()
"""Nobody is kept out."""
