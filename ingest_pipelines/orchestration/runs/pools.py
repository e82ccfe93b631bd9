"""The pools of target tables: one merge at a time per table."""

from __future__ import annotations


def target_pool(schema: str, table: str) -> str:
    """The table's pool, which lets one step in at a time. One step of a run has it, so that no run waits for itself."""
    return f"target_{schema}_{table}"
