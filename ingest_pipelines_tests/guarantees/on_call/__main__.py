"""`python -m ingest_pipelines_tests.guarantees.on_call --minutes 60`: the hour on call; exit code 0 if nobody lied."""

from __future__ import annotations

import argparse
import sys

from ingest_pipelines_tests.guarantees.ground import leave, open_folder, say
from ingest_pipelines_tests.guarantees.on_call.hour import on_call
from ingest_pipelines_tests.servers.fleet import Fleet


def main() -> int:
    """Runs the world and prints its table; the folder stays if there was a disagreement."""
    parser = argparse.ArgumentParser(prog="python -m ingest_pipelines_tests.guarantees.on_call", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long faults come (default 60)")
    parser.add_argument("--seed", type=int, default=1, help="of the order of faults and deliveries (default 1)")
    parser.add_argument("--fault", action="append", help="only this fault; may be repeated")
    parser.add_argument("--feed", action="append", help="only this feed; may be repeated")
    parser.add_argument("--keep", action="store_true", help="keep the folder with all logs")
    chosen = parser.parse_args()
    folder = open_folder("on-call-")
    fleet = Fleet.assemble()
    try:
        verdict = on_call(folder, fleet, chosen.minutes, chosen.seed, only=chosen.fault, names=chosen.feed, tell=say)
    finally:
        fleet.disband()
    leave(folder, keep=bool(verdict.disagreements) or chosen.keep)
    return 1 if verdict.disagreements else 0


if __name__ == "__main__":
    sys.exit(main())
