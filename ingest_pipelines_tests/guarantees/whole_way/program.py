"""`ingest` in processes that die or stop at a point, for the machine: `Runner(..., "...whole_way.program", FAULT)`.

Pauses before another attempt are short here: what a person waits for is not what is tried. FAULT is put into
the product on purpose, see `broken`; "": none is.
"""

from __future__ import annotations

import sys

from ingest_pipelines.merge import close_load
from ingest_pipelines.orchestration.assets import step_errors
from ingest_pipelines_tests.guarantees import killable_commands
from ingest_pipelines_tests.guarantees.whole_way import broken


def main() -> None:
    """Serves the machine's requests."""
    setattr(step_errors, "FIRST_PAUSE_SECONDS", 0.02)  # noqa: B010  # a constant to everybody else
    setattr(close_load, "RECONNECT_SECONDS", (0.0, 0.05, 0.1))  # noqa: B010
    [fault] = sys.argv[1:]
    broken.put_in(fault)
    killable_commands.serve()


if __name__ == "__main__":
    main()
