"""`python -m ingest_pipelines_tests.guarantees.torture`: 10,000 kills and cuts, in parts; exit code 0: all well."""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path

from ingest_pipelines_tests.guarantees.torture.book import GOAL, Book, Part, summary, total
from ingest_pipelines_tests.guarantees.torture.part import BLOWS_PER_PART, torture


def main() -> int:
    """Goes on where the seed's book ends, and prints a line per part."""
    parser = argparse.ArgumentParser(prog="python -m ingest_pipelines_tests.guarantees.torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=GOAL, help=f"blows of this call; it ends at {GOAL:,} of a seed")
    parser.add_argument("--seed", type=int, default=1, help="of deliveries, points, moments and bytes (default 1)")
    parser.add_argument("--part", type=int, action="append", help="only this part, again; may be repeated")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="ends after the part that passes this time")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="parts at once (default: one a core)")
    parser.add_argument(
        "--book", type=Path, default=Path(".torture"), help="the folder of the tally (default .torture)"
    )
    parser.add_argument("--summary", action="store_true", help="only print what has been done so far")
    options = parser.parse_args()
    book = Book(options.book)
    if options.summary:
        _say(summary(book.parts(options.seed)))
        return 0
    done = total(book.parts(options.seed))
    goal = min(GOAL, done + options.kills)
    if done >= GOAL and not options.part:
        _say(f"{done:,} of {GOAL:,} with seed {options.seed} are done; take another seed")
        return 0
    numbers = iter(options.part) if options.part else book.next_numbers(options.seed)
    end = time.monotonic() + options.seconds
    different = False
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        running: set[Future[dict[str, object]]] = set()
        while True:
            enough = different or time.monotonic() > end or (done + BLOWS_PER_PART * len(running) >= goal)
            while len(running) < options.jobs and (not enough or options.part):
                number = next(numbers, None)
                if number is None or different:
                    break
                running.add(pool.submit(torture, options.seed, number, options.book.absolute()))
                enough = done + BLOWS_PER_PART * len(running) >= goal
            if not running:
                break
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                facts = future.result()
                if "difference" in facts:
                    different = True
                    _say(f"DIFFERENCE in part {facts['number']} of seed {options.seed}: {facts['difference']}")
                    _say(f"  everything about it: {facts['kept']}")
                    _say(f"  once more: make torture SEED={options.seed} PART={facts['number']}")
                    continue
                part = Part(**facts)  # type: ignore[arg-type]  # made by asdict
                if not options.part:
                    book.add(part)
                done += sum(part.blows.values())
                _say(_line(part, done))
    _say(summary(book.parts(options.seed)))
    return 1 if different else 0


def _line(part: Part, done: int) -> str:
    count = sum(part.blows.values())
    found = ", ".join(f"{words} {number}" for words, number in sorted(part.found.items()))
    return (
        f"part {part.number:>4}  {part.feed:<6} Postgres {part.server}  {count} kills and cuts, {part.loads} loads, "
        f"{part.seconds:.0f} s, {count / part.seconds:.1f} a second; found: {found}; {done:,} of {GOAL:,}"
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
