"""Rows that wait for their profiles, as a load sees them, and what it says of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingest_pipelines.merge.load_state import LoadState


@dataclass(frozen=True)
class WaitingRows:
    """Rows of one import that wait for profiles of the target, and how they find them; see `kept_rows.match_of`."""

    import_name: str
    match: Mapping[str, Any]


def waiting_warnings(state: LoadState) -> Iterator[str]:
    """What a person should know about rows that wait."""
    unmatched = state.bound.spec.unmatched
    if unmatched is not None and state.kept_all_it_may:
        yield (
            f"{state.unmatched - state.kept:,} of {state.unmatched:,} unmatched rows do not wait for their profiles: "
            f"rows of {unmatched.max_rows:,} customers wait already; raise unmatched.max_rows"
        )
    if state.outdated:
        yield f"{state.outdated:,} rows that waited are older than their profiles by their version, and were dropped"
    if state.unhealed:
        yield (
            f"{state.unhealed:,} rows that waited still wait: the table refuses them ({state.heal_problem}); correct "
            "the profiles, and the next load of the table applies them"
        )
