"""The command line, `ingest`: one module per group of commands. Nothing heavy is imported before a command needs it."""

import atexit
import gc
import os
import sys


def main() -> None:
    """Runs one command; the process ends with its exit code."""
    try:
        _main()
    except KeyboardInterrupt:  # before the command is there, which has words of its own
        from ingest_pipelines.errors import INTERRUPTED

        sys.stderr.write("\nstopped; nothing ran\n")
        sys.exit(INTERRUPTED)


def _main() -> None:
    _open_standard_files()
    from ingest_pipelines.cli.run_server import handed_over

    code = handed_over(sys.argv[1:])
    if code is not None:
        sys.exit(code)
    # Imports make many objects and no garbage; looking for some while they run, and once more at the end, took a
    # fifth of a small run.
    gc.set_threshold(50_000, 20, 20)
    atexit.register(gc.freeze)
    from ingest_pipelines.cli.app import app

    app(prog_name="ingest")


def _open_standard_files() -> None:
    """A standard file that the caller closed (`<&-`) is /dev/null; else a connection would get its number."""
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the first that is free: its own
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))
