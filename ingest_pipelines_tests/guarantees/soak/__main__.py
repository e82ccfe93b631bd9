"""`python -m ingest_pipelines_tests.guarantees.soak --minutes 60`; exit code 0 if nothing was lost, doubled or grew."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ingest_pipelines_tests.guarantees.ground import leave, open_folder, say
from ingest_pipelines_tests.guarantees.soak.hour import soak
from ingest_pipelines_tests.servers.fleet import Fleet


def main() -> int:
    """Runs the hour and prints a line per minute; the folder stays if anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m ingest_pipelines_tests.guarantees.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long vendors deliver (default 60)")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two deliveries (default 1)")
    parser.add_argument(
        "--files", type=float, default=0.4,
        help="share of deliveries that are files, each a run of its own; the rest are rows of tables, which a drain "
        "takes together (default 0.4: 24 files a minute; two cores carry about 46 runs a minute)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, help="of deliveries and kills (default 1)")
    parser.add_argument(
        "--out", type=Path, default=Path(".soak"), help="folder of soak.csv, .svg, .txt (default .soak)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder with all logs")
    chosen = parser.parse_args()
    folder = open_folder("soak-")
    fleet = Fleet.assemble()
    try:
        result = soak(
            folder, fleet, chosen.out.absolute(), minutes=chosen.minutes, every=chosen.every, files=chosen.files,
            seed=chosen.seed, tell=say,
        )  # fmt: skip
    finally:
        fleet.disband()
    leave(folder, keep=bool(result.wrong) or chosen.keep)
    return 0 if result.good else 1


if __name__ == "__main__":
    sys.exit(main())
