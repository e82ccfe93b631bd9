"""The shape of a table: all facts of Postgres's catalog on which a load relies. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as default

KINDS: Mapping[str, str] = {
    "v": "a view", "m": "a materialized view", "f": "a foreign table", "S": "a sequence", "i": "an index",
    "I": "an index", "c": "a composite type", "t": "a TOAST table",
}  # fmt: skip
"""Relations that are not tables, by `pg_class.relkind`."""


@dataclass(frozen=True)
class TableColumn:
    """A column of a table.

    Attributes:
        type: as `format_type` spells it.
        not_null: it, or its domain, refuses NULL.
        has_default: an INSERT without it gets a value: a default, an identity, a generated value.
        computes_default: a function computes that value, so that it may differ between rows.
        generated: its value is computed, and cannot be written.
        virtual: generated, and not stored.
        identity: "" or `a` (GENERATED ALWAYS) or `d` (BY DEFAULT).
        nondeterministic: different spellings are equal in its collation.
        denied: privileges that the session's role lacks: SELECT, INSERT, UPDATE.
        sequences: sequences behind its default that the role may not use.
        functions: functions that its default or its generated value calls and that the role may not execute.
    """

    type: str
    not_null: bool = False
    has_default: bool = False
    computes_default: bool = False
    generated: bool = False
    virtual: bool = False
    identity: str = ""
    nondeterministic: bool = False
    denied: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableShape:
    """A table as the session's role sees it now.

    Attributes:
        oid: None if nothing has that name.
        kind: `pg_class.relkind`: `r` a table, `p` a partitioned one, else one of KINDS.
        unlogged: itself, or its partitions, where a crash of the server empties them.
        foreign: its partitions that are foreign tables.
        typed: it was made OF a type, which alone says what columns there are.
        part_of: the partitioned table whose partition it is, or "".
        columns: by name.
        primary: columns of the primary key.
        unique: sets of columns that are unique, by a valid, whole index that is checked at once.
        indexed: columns that a valid, whole index, unique or not, starts with.
        rows: how many there are, about.
        guarded: triggers of its owner, or of a partition's, look at each row before it is written, and may leave it
            out.
        children: tables that inherit from it; partitions are none.
        rules: its rewrite rules.
        hides_rows: row security applies to the role, and no policy shows and accepts every row.
        restricted: a policy restricts the role, whatever others permit.
        forced: row security applies to the table's owner, too.
        unidentified: its updates are published, and it has no replica identity.
        owned: the role may alter it.
        deletes: the role may delete its rows.
        relations: names of tables, sequences and indexes in its schema that start with the table's name.
        unusable_sequences: those of them that are sequences, and that the role may not use.
        unusable_functions: those that its checks and its indexes call, and that the role may not execute.
        role: the session's.
        schema_exists, uses_schema, creates_in_schema, creates_schemas, creates_temporary: what there is and what the
            role may do.
        version: of the server: 180000.
    """

    schema_exists: bool = False
    oid: int | None = None
    kind: str = "r"
    unlogged: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    typed: bool = False
    part_of: str = ""
    columns: Mapping[str, TableColumn] = default(default_factory=dict)
    primary: frozenset[str] = frozenset()
    unique: frozenset[frozenset[str]] = frozenset()
    indexed: frozenset[str] = frozenset()
    rows: float = 0.0
    guarded: bool = False
    children: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    hides_rows: bool = False
    restricted: bool = False
    forced: bool = False
    unidentified: bool = False
    owned: bool = True
    deletes: bool = True
    relations: frozenset[str] = frozenset()
    unusable_sequences: frozenset[str] = frozenset()
    unusable_functions: tuple[str, ...] = ()
    role: str = ""
    database: str = ""
    uses_schema: bool = True
    creates_in_schema: bool = True
    creates_schemas: bool = True
    creates_temporary: bool = True
    version: int = 180_000

    def is_unique(self, *columns: str) -> bool:
        """Whether these columns together are unique."""
        return frozenset(columns) in self.unique
