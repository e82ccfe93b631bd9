"""A shop whose tills deliver points, the command line that loads them, and a model of one line."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

import pytest
from dagster import DagsterInstance

from ingest_pipelines.config import read_settings
from ingest_pipelines.orchestration.instance import open_instance
from ingest_pipelines_tests.guarantees.killable_commands import Runner
from ingest_pipelines_tests.orchestration.agreement import disagreements
from ingest_pipelines_tests.orchestration.conftest import HEADER, Shop, new_shop
from ingest_pipelines_tests.waiting import until

POOL = "target_crm_customers"
NEXT_RUN_SECONDS = 20.0
"""What a run may take longer than five times the first one: the machine may be busy."""


OTHER_SESSIONS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND backend_type = 'client backend'"
)
LEFTOVERS = (
    "SELECT relname::text FROM pg_class WHERE relname LIKE 'ingest\\_stage%' UNION ALL SELECT mode FROM pg_locks"
    " WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@dataclass
class Tills:
    """A shop whose tills deliver points, and what its table must hold: a model of one line.

    Attributes:
        expected: points by customer.
        failed: runs that ended as failed: what they landed is kept for their re-execution.
        usual: seconds of the first run.
    """

    shop: Shop
    runner: Runner
    instance: DagsterInstance
    temporary: Path
    expected: dict[str, int] = field(default_factory=dict)
    delivered: int = 0
    failed: set[str] = field(default_factory=set)
    usual: float = 0.0
    seed: int = field(default_factory=lambda: random.SystemRandom().randrange(10**9))

    def deliver(self, name: str = "points", rows: int = 3) -> None:
        """A new file, newer than every other."""
        self.delivered += 1
        values = {f"{name}-{self.delivered}-{row}": self.delivered for row in range(rows)}
        text = "\n".join([HEADER, *(f"{key},Gold,{points},2024-05-01" for key, points in values.items()), ""])
        path = self.shop.files / name / f"{name.capitalize()}_{self.delivered}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        when = (self.shop.now - timedelta(days=1) + timedelta(seconds=self.delivered)).timestamp()
        os.utime(path, (when, when))
        self.expected |= values

    def append(self, name: str, rows: str) -> None:
        """The import's newest file, with more rows."""
        [path] = (self.shop.files / name).glob(f"*_{self.delivered}.csv")
        when = path.stat()
        with path.open("a") as file:
            file.write(rows)
        os.utime(path, (when.st_atime, when.st_mtime))

    def run(self, name: str, *, ahead: int = 0) -> str:
        """The import loads within seconds; what the command says."""
        began = time.monotonic()
        code, text = self.runner.run("run", name, ahead=ahead)
        seconds = time.monotonic() - began
        assert code == 0, f"{text}\nseed {self.seed}"
        self.usual = self.usual or seconds
        assert seconds < self.longest, text
        return text

    @property
    def longest(self) -> float:
        """Seconds that a run may take."""
        return 5 * self.usual + NEXT_RUN_SECONDS

    def profiles(self) -> dict[str, int]:
        """What the table holds of the tills' deliveries."""
        return dict(self.shop.rows("SELECT customer_id, points FROM crm.customers WHERE points IS NOT NULL"))

    def last_run(self) -> str:
        """The id of the newest run."""
        [run] = self.instance.get_runs(limit=1)
        return run.run_id

    def loads(self) -> list[tuple[str, int]]:
        """Item and number of committed loads of each item that was loaded."""
        return self.shop.rows(
            "SELECT item, count(*) FROM ingest.loads WHERE status = 'committed' GROUP BY item ORDER BY item"
        )

    def is_at_rest(self) -> None:
        """The table is right, and nobody left anything anywhere: no row, file, lock, session or table of a stage."""
        assert self.profiles() == self.expected
        until(lambda: not self.shop.rows(OTHER_SESSIONS))  # a killed client's session ends a moment after it
        assert self.shop.rows(LEFTOVERS) == []
        assert [run.run_id for run in self.instance.get_runs() if not run.is_finished] == []
        pool = self.instance.event_log_storage.get_concurrency_info(POOL)
        assert (pool.claimed_slots, pool.pending_steps) == ([], [])
        assert disagreements(self.shop.site(), self.instance, self.shop.now) == []
        folders = [*(self.shop.state / folder for folder in ("spool", "spill", "runs")), self.temporary]
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        # the lock of a run that was killed before Dagster had it is kept for a day
        kept = [path for path in files if path.suffix == ".lock" and not self.instance.has_run(path.stem)]
        kept += [path for path in files if path.suffix == ".handle" or self.failed & {*path.parts}]
        left = [path for path in files if path not in kept]
        assert left == [], left


@contextmanager
def tills_of(
    folder: Path,
    target: str,
    runs: str,
    *others: str,
    through: str = "",
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Tills]:
    """A shop that has loaded one delivery.

    Args:
        target, runs: URLs of two empty databases.
        others: imports into the same table, besides `points`.
        through: the target's URL for the command line, where that is another one than the test's.
    """
    folder.mkdir(exist_ok=True)
    shop = new_shop(folder, target)
    for name in others:
        shop.write_import(name, source={"connection": "uploads", "file": f"{name}/{name.capitalize()}", "settle": "1s"})
    settings = {
        "INGEST_HOME": str(shop.home), "INGEST_STATE": str(shop.state),
        "INGEST_DATABASE_URL": through or target, "INGEST_DAGSTER_URL": runs, **environment,
    }  # fmt: skip
    outputs, temporary = folder / "outputs", folder / "temporary"
    outputs.mkdir()
    temporary.mkdir()
    settings["TMPDIR"] = str(temporary)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("INGEST_HOME", "INGEST_STATE", "INGEST_DATABASE_URL", "INGEST_DAGSTER_URL"):
            patch.setenv(name, settings[name])
        patch.delenv("DAGSTER_HOME", raising=False)
        with open_instance(read_settings()) as instance, Runner(outputs, settings) as runner:
            tills = Tills(shop, runner, instance, temporary)
            tills.deliver()
            tills.run("points")
            yield tills
