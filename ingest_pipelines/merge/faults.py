"""The points that a load passes. Tests kill its process or cut its connection at each of them."""

from __future__ import annotations

from collections.abc import Callable

Fault = Callable[[str], None]
"""Called with the name of each point."""

FAULT_POINTS = (
    "connected", "copying", "staged", "locked", "opened", "altered", "matched", "merged", "consented", "rejected",
    "events written", "counted", "closed", "committed",
)  # fmt: skip
"""Every point, in order. `closed` is the last one before COMMIT is sent, `committed` the first after it."""

EARLY_FAULT_POINTS = ("early: opened", "early: copying", "early: copied", "early: merged")
"""Points that a load passes while its rows are judged, the last three for every run."""


def no_fault(point: str) -> None:
    """What production calls: nothing happens."""
