"""What is measured: a table to start from, a file to load into it, and what must be there afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from ingest_pipelines_tests.benchmarks.generate import File, Truth, truth

Start = Literal["empty", "half", "full"]


@dataclass(frozen=True)
class Scenario:
    """One kind of load.

    Attributes:
        start: the table before: no rows, every second customer of the file, or all of them.
        file: the file of a number of rows.
        import_name: which import of the benchmark's project loads it.
        expected: what the table adds up to afterwards.
        suppressed: how many people `ingest forget` keeps out of the table; none of them is in the file.
        floor, peers: whether the floor and the peers can do this at all; neither can set bad rows aside.
        history: the database keeps old values; it is compared with the same load without.
        lists: it is compared with the same load that does not ask who is kept out, and which rows wait.
        own_tables: each contender starts from the table that its own first load made, not from one table for all.
    """

    title: str
    start: Start
    file: Callable[[int], File]
    expected: Callable[[int], Truth]
    import_name: str = "customers"
    floor: bool = True
    peers: bool = True
    suppressed: int = 0
    history: bool = False
    lists: bool = False
    own_tables: bool = False


def starting_file(start: Start, rows: int) -> File | None:
    """What the table holds before; written in an order of its own."""
    return {"empty": None, "half": File(rows, step=2, seed=2), "full": File(rows, seed=2)}[start]


def _updates(rows: int) -> File:
    return File(rows, changed_percent=100)


def _bad(rows: int) -> File:
    return File(rows, changed_percent=100, bad_percent=2)


def _kept_old(rows: int) -> Truth:
    """Customers of the table whose row in the file was rejected: they stay as they were."""
    return truth(File(rows, step=2)) - truth(File(rows, step=2, bad_percent=2))


def _full_file(changed_percent: int) -> Callable[[int], File]:
    return lambda rows: File(rows, changed_percent=changed_percent)


def _all_of(file: Callable[[int], File]) -> Callable[[int], Truth]:
    return lambda rows: truth(file(rows))


SCENARIOS: Mapping[str, Scenario] = {
    "half_updates": Scenario(
        "half updates, half inserts; every matched row differs", "half", _updates, _all_of(_updates)
    ),
    "full_file_90": Scenario(
        "the daily full file, 90 % of its rows unchanged", "full", _full_file(10), _all_of(_full_file(10))
    ),
    "half_updates_own": Scenario(
        "half updates, half inserts; each from the table that its own first load made", "half", _updates,
        _all_of(_updates), own_tables=True,
    ),
    "full_file_90_own": Scenario(
        "the daily full file, 90 % of its rows unchanged; each from the table that its own first load made", "full",
        _full_file(10), _all_of(_full_file(10)), own_tables=True,
    ),
    "full_file_99": Scenario(
        "the daily full file, 1 % of its rows changed", "full", _full_file(1), _all_of(_full_file(1)), peers=False
    ),
    "unchanged": Scenario(
        "the daily full file, nothing changed", "full", _full_file(0), _all_of(_full_file(0)), peers=False
    ),
    "first_load": Scenario("first load into an empty table", "empty", _updates, _all_of(_updates)),
    "first_load_own": Scenario(
        "first load; whoever can makes the table itself", "empty", _updates, _all_of(_updates), own_tables=True
    ),
    "update_only": Scenario(
        "update_only: half of the rows match", "half", _updates, lambda rows: truth(_updates(rows), only="even"),
        import_name="customers_update_only", peers=False,
    ),
    "bad_rows": Scenario(
        "half updates, half inserts; 2 % of the rows break a rule", "half", _bad,
        lambda rows: truth(_bad(rows)) + _kept_old(rows),
        import_name="customers_with_rejects", floor=False, peers=False,
    ),
    "suppressed": Scenario(
        "half updates, half inserts; 100,000 people are kept out", "half", _updates, _all_of(_updates),
        floor=False, peers=False, suppressed=100_000,
    ),
    "empty_lists": Scenario(
        "half updates, half inserts; nobody is kept out, no row waits (`forget`, `unmatched`)", "half", _updates,
        _all_of(_updates), floor=False, peers=False, lists=True,
    ),
    "history": Scenario(
        "half updates, half inserts; old values are kept (`history: true`)", "half", _updates, _all_of(_updates),
        floor=False, peers=False, history=True,
    ),
    "history_90": Scenario(
        "the daily full file, 90 % of its rows unchanged; old values are kept", "full", _full_file(10),
        _all_of(_full_file(10)), floor=False, peers=False, history=True,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A scenario at a size, so many rounds; `peers` asks for them where the scenario has them."""

    scenario: str
    rows: int
    rounds: int
    peers: bool = False


PLAN = (
    Task("half_updates", 1_000_000, 5, peers=True),
    Task("full_file_90", 1_000_000, 5, peers=True),
    Task("half_updates_own", 1_000_000, 5, peers=True),
    Task("full_file_90_own", 1_000_000, 5, peers=True),
    Task("first_load", 1_000_000, 5, peers=True),
    Task("first_load_own", 1_000_000, 5, peers=True),
    Task("bad_rows", 1_000_000, 5),
    Task("suppressed", 1_000_000, 5),
    Task("empty_lists", 1_000_000, 5),
    Task("full_file_99", 1_000_000, 3),
    Task("unchanged", 1_000_000, 3),
    Task("update_only", 1_000_000, 3),
    Task("history", 1_000_000, 3),
    Task("history_90", 1_000_000, 3),
    Task("half_updates", 5_000_000, 3, peers=True),
)
SLOW_PLAN = (Task("half_updates", 30_000_000, 1),)
QUICK_PLAN = (Task("half_updates", 250_000, 2), Task("full_file_90", 250_000, 2))
