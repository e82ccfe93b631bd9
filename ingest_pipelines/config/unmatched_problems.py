"""Mistakes in an import's `unmatched`: rows that cannot wait for their profiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingest_pipelines.config.bound import BoundImport
    from ingest_pipelines.config.column_problems import Problem


def unmatched_problems(bound: BoundImport) -> Iterator[Problem]:
    """Rows that never lack a profile, that nobody could find again, or that hold more than fields."""
    if bound.spec.unmatched is None:
        return
    where = ("unmatched",)
    if bound.spec.mode != "update_only":
        yield where, f"unmatched: goes with mode: update_only; {bound.spec.mode} adds a profile for every such row"
    if bound.match is not None and bound.match.by == "profile_id":
        yield (
            where,
            "unmatched: a profile_id belongs to no customer yet, and the next new one would get it; match by a field",
        )
    if bound.spec.subscriptions:
        yield where, "unmatched: rows with subscriptions do not wait; put the fields into an import of their own"
