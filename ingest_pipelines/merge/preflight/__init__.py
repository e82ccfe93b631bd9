"""Preflight: checks what a merge relies on in an existing table, before the first row is written.

`ingest check --connect`, `ingest plan` and every load make the same checks, and refuse with the same message: what does
not fit, and the statement that fixes it. What no check covers is left to Postgres, which then refuses the load.
"""

from ingest_pipelines.merge.preflight.checks import check_target, find_obstacles, probe, refuse_early

__all__ = ["check_target", "find_obstacles", "probe", "refuse_early"]
