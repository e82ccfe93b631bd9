"""Ends the servers of a test run whose owner is gone: `python -m ingest_pipelines_tests.servers.guard FOLDER`."""

import fcntl
import sys
from pathlib import Path

from ingest_pipelines_tests.servers.fleet import Fleet


def main(folder: Path) -> None:
    """Returns after the run's owner ended, by itself or not, and no server of the run is left."""
    try:
        alive = (folder / "alive.lock").open()
    except FileNotFoundError:
        return
    fcntl.flock(alive, fcntl.LOCK_SH)
    if folder.exists():
        Fleet(folder).disband()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
