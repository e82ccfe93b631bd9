"""`python -m ingest_pipelines_tests.benchmarks.studio`: what the studio's pages cost with a thousand imports.

The project is that of `thousand.py`, each import with twenty loads, one of them with 100,000 rejected rows. Measured in
a real browser and by plain requests: Home's first paint, how soon a commit is on an open Home, the first page of the
rejects bench, the studio's memory.
"""

from __future__ import annotations

import argparse
import gzip
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import psycopg
from playwright.sync_api import Page

from ingest_pipelines.ledger import migrate
from ingest_pipelines_tests.benchmarks.many_imports import print_found, timed
from ingest_pipelines_tests.benchmarks.thousand import project
from ingest_pipelines_tests.servers import browser
from ingest_pipelines_tests.waiting import until

LOADS, REJECTS, IDLE_SECONDS = 20, 100_000, 4.0
"""Loads of each import, rejected rows of one load; how long nobody has looked before a cold page."""

FILL = (
    """
    INSERT INTO ingest.imports (name, database, fingerprint, mapping, status, activated_at)
    SELECT 'import_' || n, 'db' || n %% 10, 'f', '{}', 'active', now() FROM generate_series(0, %(imports)s - 1) n
    """,
    """
    INSERT INTO ingest.items (import, key, kind, uri, path, fingerprint, size, modified_at, status, created_at)
    SELECT 'import_' || n, 'File' || n || '_' || i, 'file', 'sftp://v', 'File' || n, md5(n || 'i' || i), 9, now(),
           'committed', now() - i * interval '1 hour' FROM generate_series(0, %(imports)s - 1) n,
           generate_series(1, %(loads)s) i
    """,
    """
    INSERT INTO ingest.loads (import, item, run_id, by, fingerprint, status, read, inserted, updated, rejected,
                              started_at, finished_at)
    SELECT import, key, md5(key), 'sensor', 'f', 'committed', 1000 + length(key), 900, 100, 0, created_at, created_at
    FROM ingest.items ORDER BY created_at
    """,
    """
    INSERT INTO ingest.rejects (load, line, key, field, code, reason, row)
    SELECT (SELECT max(id) FROM ingest.loads WHERE import = 'import_0'), n, 'C' || n, 'f1', 'bad_int',
           'not a whole number', json_build_object('CID', 'C' || n, 'Column 1', 'many', 'Column 2', 'text')
    FROM generate_series(1, %(rejects)s) n
    """,
    """
    UPDATE ingest.loads SET rejected = %(rejects)s
    WHERE id = (SELECT max(id) FROM ingest.loads WHERE import = 'import_0')
    """,
    "ANALYZE",
)
COMMIT = """
INSERT INTO ingest.loads (import, item, run_id, by, fingerprint, status, read, inserted, started_at, finished_at)
SELECT import, item, md5(item || %(read)s), by, fingerprint, status, %(read)s, inserted, now(), now()
FROM ingest.loads WHERE import = 'import_7' ORDER BY id DESC LIMIT 1
"""


def main() -> None:
    """Fills, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--imports", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with project(options.imports) as (home, environment):
        migrate(environment["INGEST_DATABASE_URL"])
        with psycopg.connect(environment["INGEST_DATABASE_URL"], autocommit=True) as connection:
            for statement in FILL:
                connection.execute(statement, {"imports": options.imports, "loads": LOADS, "rejects": REJECTS})
            found = measure(home, environment, connection, options.rounds)
    print_found(f"the studio, {options.imports} imports with {LOADS} loads, {REJECTS:,} rejects", found)


def measure(
    home: Path, environment: Mapping[str, str], connection: psycopg.Connection, rounds: int
) -> dict[str, float]:
    """Seconds and megabytes."""
    found: dict[str, float] = {}
    begun = time.perf_counter()
    with studio(environment) as (address, process), browser.running() as chromium:
        found["until it listens, s"] = round(time.perf_counter() - begun, 2)
        found["its first Home, s"] = round(timed(lambda: _get(address)), 2)
        found["Home, the state just looked at, s"] = round(
            median(timed(lambda: _get(address)) for _ in range(rounds)), 3
        )
        plain = _get(address)
        found["Home, MB"] = round(len(plain) / 1e6, 2)
        found["Home, MB compressed"] = round(len(gzip.compress(plain, 6)) / 1e6, 3)
        pages = [chromium.new_page(viewport={"width": 1280, "height": 900}) for _ in range(rounds)]
        paints = []
        for page in pages:
            time.sleep(IDLE_SECONDS)
            page.goto(address, wait_until="commit")
            page.locator("tr[data-name]").first.wait_for()
            paints.append(_paint(page))
            page.goto("about:blank")
        found["Home after a pause, first paint in the browser, s"] = round(median(paints), 2)
        found["Home after a pause, longest, s"] = round(max(paints), 2)
        page = pages[0]
        page.goto(address)
        page.locator("#live:not([hidden])").wait_for()
        time.sleep(IDLE_SECONDS)
        waits = []
        for number in range(rounds):
            waits.append(_seen_after(page, connection, 40_000 + number))
            time.sleep(0.5)
        found["a commit on an open Home, s"] = round(median(waits), 3)
        found["a commit on an open Home, longest, s"] = round(max(waits), 3)
        found["CPU of an open Home, nothing new, %"] = round(_busy(process.pid), 1)
        bench = f"{address}/imports/import_0/rejects"
        found["the bench, first page, s"] = round(median(timed(lambda: _get(bench)) for _ in range(rounds)), 3)
        found["the bench, one rule, s"] = round(
            median(timed(lambda: _get(f"{bench}?code=bad_int&after=50000")) for _ in range(rounds)), 3
        )
        found["memory, MB"] = _memory(process.pid)
    return found


@contextmanager
def studio(environment: Mapping[str, str]) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The studio in a process of its own: its address, and the process."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "ingest_pipelines.studio", "--port", str(port)]
    process = subprocess.Popen(words, env={**os.environ, **environment})
    address = f"http://127.0.0.1:{port}"

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(listens)
        yield address, process
    finally:
        process.terminate()
        process.wait(30)


def _get(address: str) -> bytes:
    with urllib.request.urlopen(address) as answer:
        content: bytes = answer.read()
    return content


def _paint(page: Page) -> float:
    """Seconds from the navigation to the first contentful paint."""
    script = """() => new Promise((resolve) => new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) if (entry.name === "first-contentful-paint") resolve(entry.startTime);
    }).observe({ type: "paint", buffered: true }))"""
    milliseconds: float = page.evaluate(script)
    return milliseconds / 1000


def _seen_after(page: Page, connection: psycopg.Connection, read: int) -> float:
    """Seconds from a load's commit until its row is on the open page."""
    begun = time.perf_counter()
    connection.execute(COMMIT, {"read": read})
    page.locator("#row-import_7 b", has_text=f"{read:,}").wait_for()
    return time.perf_counter() - begun


def _busy(pid: int, seconds: float = 6.0) -> float:
    """Per cent of a core."""

    def used() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = used()
    time.sleep(seconds)
    return 100 * (used() - before) / seconds


def _memory(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024)


if __name__ == "__main__":
    main()
