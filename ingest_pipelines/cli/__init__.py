"""The command line, `ingest`: one module per group of commands. Nothing heavy is imported before a command needs it."""


def main() -> None:
    """Runs one command; the process ends with its exit code."""
    from ingest_pipelines.cli.app import app

    app(prog_name="ingest")
