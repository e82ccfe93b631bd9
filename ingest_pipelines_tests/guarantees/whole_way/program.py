"""`ingest` in processes that die or stop at a point, for the machine: `Runner(..., program="...whole_way.program")`.

Pauses before another attempt are short here: what a person waits for is not what is tried. With WHOLE_WAY_BREAKS the
product has a fault that was put in on purpose; see `broken`.
"""

from __future__ import annotations

import os

from ingest_pipelines.merge import close_load
from ingest_pipelines.orchestration.assets import step_errors
from ingest_pipelines_tests.guarantees.whole_way import broken
from ingest_pipelines_tests.orchestration import killable_runs


def main() -> None:
    """Serves the machine's requests."""
    setattr(step_errors, "FIRST_PAUSE_SECONDS", 0.02)  # noqa: B010  # a constant to everybody else
    setattr(close_load, "RECONNECT_SECONDS", (0.0, 0.05, 0.1))  # noqa: B010
    broken.put_in(os.environ.get("WHOLE_WAY_BREAKS", ""))
    killable_runs.serve()


if __name__ == "__main__":
    main()
