"""What the instance of Dagster+ does not do for a code location, as `dagster-cloud` 1.13 has it.

Code servers and runs in Dagster+ reach their deployment through the agent's API. It keeps no values of ours (its answer
to `get_cursor_values` is an exception that is returned and not raised), and refuses to delete runs.
"""

from __future__ import annotations

from dagster import DagsterInstance


def is_dagster_plus(instance: DagsterInstance) -> bool:
    """Whether the instance is a deployment of Dagster+."""
    return any(base.__module__.partition(".")[0] == "dagster_cloud" for base in type(instance).__mro__)
