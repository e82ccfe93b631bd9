"""An obstacle: a fault of a table that keeps a load from merging into it, with the statements that fix it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from ingest_pipelines.config import BoundImport
from ingest_pipelines.errors import TargetRefused


@dataclass(frozen=True)
class Obstacle:
    """A fault of a table that keeps a load from merging into it.

    Attributes:
        what: one clause, without the import.
        fixes: statements for the table's owner; none where the import has to name another table.
        advice: other ways out, "" if there are none.
    """

    what: str
    fixes: tuple[str, ...] = ()
    advice: str = ""


def refusal_of(bound: BoundImport, obstacles: Sequence[Obstacle]) -> TargetRefused | None:
    """The obstacles as one error; None where there are none."""
    if not obstacles:
        return None
    fixes = [fix for obstacle in obstacles for fix in obstacle.fixes]
    advice = [obstacle.advice for obstacle in obstacles if obstacle.advice]
    lines = ["; ".join(["nothing was merged", *dict.fromkeys(advice)])]
    if fixes:
        lines[0] += "; its owner can fix it in Postgres with:"
        lines += [f"  {fix};" for fix in fixes]
    what = [obstacle.what for obstacle in obstacles]
    listed = what[0] if len(what) == 1 else "".join(f"\n  {clause}" for clause in what)
    return TargetRefused(f"import {bound.name}: {listed}", hint="\n  ".join(lines))


def render(statement: LiteralString, *parts: sql.Composable, **named: sql.Composable) -> str:
    """The statement as text, with its identifiers and literals quoted."""
    return sql.SQL(statement).format(*parts, **named).as_string()


def verbatim(text: str) -> sql.SQL:
    """Text that Postgres has quoted already, or that is a constant of ours."""
    return sql.SQL(text)
