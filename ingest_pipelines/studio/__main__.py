"""`python -m ingest_pipelines.studio`: how `ingest up` starts the studio."""

from __future__ import annotations

import argparse

from ingest_pipelines.config import read_settings
from ingest_pipelines.owner_only import take_private_umask
from ingest_pipelines.studio.serve import HOST, serve


def main() -> None:
    """Serves until the process is told to stop."""
    take_private_umask()
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default=HOST)
    parser.add_argument("--port", type=int, required=True)
    words = parser.parse_args()
    serve(read_settings(), words.host, words.port)


if __name__ == "__main__":
    main()
