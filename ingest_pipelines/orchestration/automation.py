"""Whether an import runs by itself: what its sensor and its schedule have in common."""

from __future__ import annotations

from ingest_pipelines import ledger
from ingest_pipelines.config import BoundImport
from ingest_pipelines.orchestration.site import Site

WHEN_STOPPED = "Ticks skip while the import is a draft or paused; start it with ingest activate or ingest resume."
"""Part of the description of every sensor and schedule."""


def starts_running(site: Site) -> bool:
    """Whether sensors and schedules are on by default; a person can switch each one in the UI.

    Those of drafts and paused imports also tick, and skip, so that `ingest activate` and `resume` work without the UI.
    """
    return site.settings.automation


def why_stopped(site: Site, bound: BoundImport) -> str:
    """Why the import does not run by itself: it is a draft, or paused. "" where it is active."""
    with site.target.session() as connection:
        state = ledger.find_import(connection, bound.name)
    status = state.status if state is not None and state.status is not None else bound.spec.status
    if status == "draft":
        return f"a draft runs only by hand; run: ingest activate {bound.name}"
    if status == "paused":
        return f"paused; run: ingest resume {bound.name}"
    return ""
