"""One part of the ten thousand: a history with servers of its own, in a process of its own."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path

from ingest_pipelines_tests.guarantees.ground import open_folder
from ingest_pipelines_tests.guarantees.torture.book import Part, version
from ingest_pipelines_tests.guarantees.torture.history import FEEDS, history, run_steps
from ingest_pipelines_tests.guarantees.torture.target import postgres_15, postgres_18
from ingest_pipelines_tests.guarantees.torture.worker import Worker
from ingest_pipelines_tests.servers import postgres
from ingest_pipelines_tests.servers.fleet import Fleet

BLOWS_PER_PART = 100


def torture(seed: int, number: int, book: Path) -> dict[str, object]:
    """One part, in a process of its own: its facts, or its `difference` and the folder where all about it is kept."""
    folder = open_folder(f"torture-{seed}-{number}-")
    feed = FEEDS[number % len(FEEDS)]
    old = number % 4 == 3
    fleet = Fleet.assemble()
    try:
        with ExitStack() as stack:
            source = fleet.ask("postgres", postgres.PostgresServer, postgres.launch).url
            # In the fleet's folder: should this process be killed, the fleet's guard removes it, and the server ends.
            server = (
                postgres_15(fleet)
                if old
                else stack.enter_context(postgres_18(fleet.folder / "target", fleet.free_port()))
            )
            worker = stack.enter_context(Worker(folder / "worker.log"))
            made = stack.enter_context(history(f"{seed}/{number}", feed, server, source, worker, folder / "part"))
            try:
                struck = run_steps(made, blows=BLOWS_PER_PART, until=lambda: False)
            except Exception as error:
                kept = str(book / f"difference-{seed}-{number}")
                _keep(Path(kept), folder, seed, number, feed, server.version, made.doing, error)
                return {"number": number, "difference": f"{type(error).__name__}: {error}"[:4000], "kept": kept}
        return asdict(
            Part(
                seed,
                number,
                version(),
                feed,
                server.version,
                dict(struck.blows),
                dict(struck.found),
                struck.missed,
                struck.loads,
                round(struck.seconds, 1),
            )
        )
    finally:
        fleet.disband()
        shutil.rmtree(folder, ignore_errors=True)


def _keep(
    kept: Path, folder: Path, seed: int, number: int, feed: str, server: int, doing: str, error: Exception
) -> None:
    """Seed, part, step, blow and words, the worker's log and the delivered files; not the servers' data."""
    kept.mkdir(parents=True, exist_ok=True)
    facts = {
        "seed": seed, "part": number, "feed": feed, "postgres": server, "version": version(), "doing": doing,
        "error": f"{type(error).__name__}: {error}",
    }  # fmt: skip
    (kept / "difference.json").write_text(json.dumps(facts, indent=2))
    for name in ("worker.log", "part", "postgres/server.log"):
        path = folder / name
        with suppress(OSError):
            if path.is_dir():
                shutil.copytree(path, kept / path.name, dirs_exist_ok=True)
            elif path.exists():
                shutil.copy(path, kept / path.name)
