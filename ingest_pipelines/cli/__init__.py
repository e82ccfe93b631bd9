"""The command line, `ingest`: one module per group of commands. Nothing heavy is imported before a command needs it."""

import gc


def main() -> None:
    """Runs one command; the process ends with its exit code."""
    gc.set_threshold(50_000, 20, 20)  # imports make many objects and no garbage: a tenth of a run's start was this
    from ingest_pipelines.cli.app import app

    app(prog_name="ingest")
