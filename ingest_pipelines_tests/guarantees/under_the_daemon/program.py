"""`ingest` in processes forked from one that has imported everything, beside a daemon: FOLDER tells worlds apart."""

from __future__ import annotations

from ingest_pipelines_tests.guarantees import killable_commands

if __name__ == "__main__":
    killable_commands.serve()
