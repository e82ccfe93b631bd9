"""The fault points of a load: tests kill its process or cut its connection at each of them."""

from __future__ import annotations

from collections.abc import Callable

Fault = Callable[[str], None]
"""A function that is called with the name of each point."""

FAULT_POINTS = (
    "connected", "copying", "staged", "locked", "opened", "altered", "matched", "merged", "consented", "healed",
    "rejected", "events written", "counted", "closed", "committed",
)  # fmt: skip
"""Every point, in order. `closed` is the last one before COMMIT is sent, `committed` the first after it."""

EARLY_FAULT_POINTS = ("early: opened", "early: copying", "early: copied", "early: merged")
"""Points of an early load; the last three are passed once per sorted chunk, or batch of them."""

NEW_TABLE_FAULT_POINTS = ("early: key dropped", "early: key built")
"""Further points of an early load that makes its table, which has no key between them."""

SEARCH_FAULT_POINTS = ("search: begun", "search: undone", "search: merged", "search: rejected")
"""Points of the search for rows that the table refuses; the second one is passed once per try that fails."""


def no_fault(point: str) -> None:
    """Does nothing: the fault of production."""
