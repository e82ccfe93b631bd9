"""An item that should be in the table and is not: its state, the reason and the next step."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

OpenState = Literal[
    "failed", "refused", "dropped", "terminated", "due", "settling", "queued", "paused", "held", "running"
]

STATES: dict[OpenState, str] = {
    "failed": "its last load did not commit, or its run died",
    "refused": "the item as a whole cannot be applied",
    "dropped": "its run ended before it began, and another run is not under way",
    "terminated": "a person ended its run",
    "due": "it is expected, and has no run yet",
    "settling": "the file may still be changing",
    "queued": "its run waits in the queue",
    "paused": "the import is paused",
    "held": "the import cannot run: its YAML has mistakes, or the project has no such import",
    "running": "its run is in progress",
}
"""Every state of an open item, the most urgent first."""

BROKEN: frozenset[OpenState] = frozenset({"failed", "refused", "dropped", "terminated"})
"""States that end only when a person does something, or a run is requested again."""


@dataclass(frozen=True)
class OpenItem:
    """An item that should be in the table and is not.

    Attributes:
        item: its key; of a file that still changes its path; of a window that is due the window's key.
        since: when it came into this state, as far as is known.
        reason: why; never a row's value, a secret or a server's own words.
        next_step: the command to type; "" where nothing is to be done.
        run_id: the run whose page shows details; "" where there is none.
        waits_for: `waits for ...`: the run, pool or limit that it waits for; "" where it waits for none.
        asked_again: whether a run is requested again without a person.
        by_source: its run ended because the source did not answer or let nobody in, and it does not since then.
    """

    import_name: str
    item: str
    state: OpenState
    since: datetime
    reason: str = ""
    next_step: str = ""
    run_id: str = ""
    waits_for: str = ""
    asked_again: bool = False
    by_source: bool = False
