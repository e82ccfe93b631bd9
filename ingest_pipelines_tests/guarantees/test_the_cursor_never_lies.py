"""A busy source read in chunks, with kills anywhere: a row up to the committed cursor is in the table, always.

Late rows too, as far as the lag covers them.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from ingest_pipelines.config import BoundImport
from ingest_pipelines.merge import FAULT_POINTS, Target, apply
from ingest_pipelines.model import Workspace
from ingest_pipelines.pipeline import steps
from ingest_pipelines_tests.guarantees.killable import KillableLoader
from ingest_pipelines_tests.pipeline.conftest import Shop, shop

__all__ = ["shop"]

SEEDS = [20261122, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(7, 11))]
LAG = 400
"""More numbers than the writer's transactions ever hold open at once."""

QUERY: dict[str, Any] = {
    "query": "SELECT id, points, seq FROM customers WHERE seq > {lastItem} ORDER BY seq LIMIT 150",
    "cursor": {"column": "seq", "start": 0, "lag": LAG},
}


class Writer(threading.Thread):
    """Inserts, updates, deletes, and commits some of it late: numbers become visible out of order."""

    def __init__(self, url: str, seed: int) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._random = random.Random(seed)
        self.enough = threading.Event()

    def run(self) -> None:
        with psycopg.connect(self._url) as late, psycopg.connect(self._url, autocommit=True) as prompt:
            ids, held = 0, 0
            while not self.enough.is_set():
                for _ in range(self._random.randrange(1, 12)):
                    ids += 1
                    slow = self._random.random() < 0.3
                    held += slow
                    (late if slow else prompt).execute("INSERT INTO customers VALUES (%s, 1, nextval('clock'))", (ids,))
                prompt.execute(
                    "UPDATE customers SET points = points + 1, seq = nextval('clock') WHERE id = ANY(%s)",
                    (self._random.sample(range(1, ids + 1), min(3, ids)),),
                )
                # Deleted rows stay in the target: no query shows what is gone. Never the newest, which is the cursor.
                prompt.execute(
                    "DELETE FROM customers WHERE id = %s AND seq < (SELECT max(seq) - 50 FROM customers)",
                    (self._random.randrange(1, ids + 1),),
                )
                if held > 20:
                    late.commit()
                    held = 0
                self.enough.wait(0.002)
            late.commit()


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_committed_late_updated_and_deleted_while_chunks_are_read_are_all_there(shop: Shop, seed: int) -> None:
    shop.source(
        "CREATE SEQUENCE clock",
        "CREATE TABLE customers (id bigint PRIMARY KEY, points int, seq bigint)",
        "CREATE INDEX ON customers (seq)",
    )
    bound = shop.bound(**QUERY)
    chance = random.Random(seed)
    writer = Writer(shop.source_url, seed)
    writer.start()
    try:
        for number in range(5):
            _some_chunks(shop, bound, f"run-{number}", chance)
    finally:
        writer.enough.set()
        writer.join()
    list(shop.drain(bound, "last"))
    source = {str(key): points for key, points in shop.source("SELECT id, points FROM customers")}
    target = shop.profiles()
    assert {key: target.get(key) for key in source} == source
    assert shop.cursor() == str(shop.source("SELECT max(seq) FROM customers")[0][0])


def _some_chunks(shop: Shop, bound: BoundImport, run: str, chance: random.Random) -> None:
    """A drain that may be given up between chunks, and is then called again as a retry would."""
    while True:
        drain = shop.drain(bound, run)
        left = chance.randrange(1, 5)
        for _ in drain:
            left -= 1
            if not left:
                drain.close()
                break
        if chance.random() < 0.5:
            return


KILLS = [
    (("staged", "closed", "committed"), 1),
    *(pytest.param(FAULT_POINTS, chunk, marks=pytest.mark.slow) for chunk in (1, 2, 3)),
]
"""Points at which a drain is killed, one after the other, and in which of its chunks."""


@pytest.mark.parametrize(("points", "chunk"), KILLS)
@pytest.mark.parametrize("lag", [0, LAG])
def test_at_no_kill_the_committed_cursor_is_beyond_what_is_in_the_table(
    shop: Shop, tmp_path: Path, loader: KillableLoader, points: Sequence[str], chunk: int, lag: int
) -> None:
    """And the run goes on from there: no row is lost, and no chunk is booked twice."""
    shop.source(
        "CREATE TABLE customers (id bigint PRIMARY KEY, points int, seq bigint)",
        "CREATE INDEX ON customers (seq)",
    )
    query = {**QUERY, "cursor": {**QUERY["cursor"], "lag": lag}}
    rows = 0
    for number, point in enumerate(points):
        fresh = range(rows + 1, rows + 401)  # two chunks and a half
        rows += len(fresh)
        shop.source(f"INSERT INTO customers SELECT n, n + {number}, n FROM generate_series({fresh[0]}, {fresh[-1]}) n")
        shop.source(f"UPDATE customers SET points = points + 1, seq = {rows + 1} WHERE id = {fresh[0]}")
        rows += 1
        drain = Drain(shop.source_url, shop.target.url, tmp_path / "killed", query, f"run-{number}", point, chunk)
        assert not loader.run(drain), f"{point} of chunk {chunk} was not reached"
        _cursor_is_true(shop, point)
        assert lag or _booked(shop) == int(shop.cursor() or 0)
        list(shop.drain(shop.bound(**query), drain.run))
        _cursor_is_true(shop, point)
        assert shop.profiles() == {str(key): points for key, points in shop.source("SELECT id, points FROM customers")}
        list(shop.drain(shop.bound(**query), f"{drain.run}-next"))  # with a lag, only a run that knows where it began
        assert shop.cursor() == str(rows)


def _cursor_is_true(shop: Shop, point: str) -> None:
    """Every row up to the committed cursor is in the table as it is; the chunks that are booked follow one another."""
    cursor = int(shop.cursor() or 0)
    source = {
        str(key): points for key, points in shop.source(f"SELECT id, points FROM customers WHERE seq <= {cursor}")
    }
    target = shop.profiles() if shop.query("SELECT to_regclass('crm.customers')") != [(None,)] else {}
    assert {key: target.get(key) for key in source} == source, f"killed at {point}"
    doubled = shop.query(
        "SELECT item, run_id, cursor_from FROM ingest.loads GROUP BY item, run_id, cursor_from HAVING count(*) > 1"
    )
    assert doubled == []


def _booked(shop: Shop) -> int:
    """How far the committed chunks reach."""
    [(reached,)] = shop.query(
        "SELECT coalesce(max(coalesce(cursor_to, cursor_from)::bigint), 0) FROM ingest.loads WHERE status = 'committed'"
    )
    return int(reached)


@dataclass(frozen=True)
class Drain:
    """A drain that kills its process when it comes by a point of its n-th chunk."""

    source_url: str
    target_url: str
    folder: Path
    query: Mapping[str, Any]
    run: str
    dies_at: str
    chunk: int

    def __call__(self) -> None:
        """Every chunk until the kill."""
        begun = 0

        def die(passed: str) -> None:
            nonlocal begun
            begun += passed == FAULT_POINTS[0]
            if passed == self.dies_at and begun == self.chunk:
                os.kill(os.getpid(), signal.SIGKILL)

        os.environ["SHOP_PW"] = str(urlsplit(self.source_url).password)
        setattr(steps, "apply", partial(apply, fault=die))  # noqa: B010  # the module's own name for it
        shop = Shop(
            self.source_url, Target(self.target_url, 5), Workspace(self.folder / "spool", self.folder / "spill")
        )
        list(shop.drain(shop.bound(**self.query), self.run))
