"""Imports that had another name before. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ingest_pipelines.config.column_problems import Problem
from ingest_pipelines.config.imports import Import


def rename_problems(name: str, spec: Import, others: Sequence[tuple[str, Import | None]]) -> list[Problem]:
    """Why the import cannot have the history of the name that it had before."""
    old = spec.renamed_from
    if old is None:
        return []
    if old == name:
        return [(("renamed_from",), "renamed_from: that is its name now; delete this line")]
    if old in {other for other, _ in others}:
        return [(("renamed_from",), f"renamed_from: imports/{old}.yaml is still there; delete that file, or this line")]
    heirs = sorted(other for other, each in others if each is not None and each.renamed_from == old)
    if heirs[0] != name:
        what = f"renamed_from: imports/{heirs[0]}.yaml was '{old}' before, too; delete one of the two lines"
        return [(("renamed_from",), what)]
    return []
