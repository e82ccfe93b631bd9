"""A busy source read in chunks, with kills in between: in the end every row that the lag covers is in the target."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ingest_pipelines.config import BoundImport
from ingest_pipelines_tests.pipeline.conftest import Shop

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


def test_a_drain_killed_anywhere_goes_on_from_its_last_chunk(shop: Shop, tmp_path: Path) -> None:
    shop.source(
        "CREATE TABLE customers (id bigint PRIMARY KEY, points int, seq bigint)",
        "INSERT INTO customers SELECT n, n, n FROM generate_series(1, 400) n",
    )
    chunks = 0
    for point in ("closed", "committed"):
        before = shop.query("SELECT count(*) FROM ingest.loads WHERE status = 'committed'")[0][0]
        killed = subprocess.run(
            [
                sys.executable, "-m", "ingest_pipelines_tests.pipeline.killed", shop.source_url, shop.target.url,
                str(tmp_path / "killed"), point,
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert killed.returncode == -9, killed.stderr
        chunks += 1 if point == "committed" else 0
        after = shop.query("SELECT count(*) FROM ingest.loads WHERE status = 'committed'")[0][0]
        assert after - before == (1 if point == "committed" else 0)
        assert len(shop.profiles() if chunks else {}) == 150 * chunks
    list(shop.drain(shop.bound(**QUERY), "killed"))
    assert shop.profiles() == {str(n): n for n in range(1, 401)}
