"""`python -m ingest_pipelines_tests.guarantees.dying_daemon SENSOR [POINT]`: a daemon's sensors, killed at a point.

With a point of a tick, such as RUN_CREATED, the process kills itself there with SIGKILL. Without one it goes on until a
tick of the sensor finds nothing to do. Runs are left in the queue.
"""

from __future__ import annotations

import logging
import signal
import sys
import time

from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.sensor import execute_sensor_iteration

from ingest_pipelines.config import read_settings
from ingest_pipelines.orchestration.instance import LOCATION, open_instance

PATIENCE = 60.0
NOTHING_NEW = "already has a run"
"""What the sensor says when all that came is launched."""


def main() -> None:
    """Ticks until the end that the arguments ask for."""
    name, *points = sys.argv[1:]
    crash = {name: dict.fromkeys(points, signal.SIGKILL)}
    target = ModuleTarget("ingest_pipelines.definitions", None, None, LOCATION)
    deadline = time.monotonic() + PATIENCE
    with (
        open_instance(read_settings()) as instance,
        create_test_daemon_workspace_context(target, instance) as workspace,
    ):
        while time.monotonic() < deadline:
            try:
                for _ in execute_sensor_iteration(
                    workspace, logging.getLogger("sensors"), None, None, debug_crash_flags=crash
                ):
                    pass
            except Exception:  # of two daemons that register a sensor at once one fails, and goes on as Dagster's does
                logging.exception("an iteration failed")
            states = [each for each in instance.all_instigator_state() if each.instigator_name == name]
            ticks = [
                tick
                for each in states
                for tick in instance.get_ticks(each.instigator_origin_id, each.selector_id, limit=1)
            ]
            if not points and any(NOTHING_NEW in (tick.tick_data.skip_reason or "") for tick in ticks):
                return
            time.sleep(0.2)
    sys.exit("the daemon's time is up")


if __name__ == "__main__":
    main()
