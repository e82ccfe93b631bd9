"""The state of ledger, Dagster and YAML at one moment, from which the problems that exist are found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ingest_pipelines.config import BoundImport, Project
from ingest_pipelines.ledger import CommittedDelivery, ImportState, ImportSummary, SourceCheck
from ingest_pipelines.orchestration.automation import status_of
from ingest_pipelines.orchestration.monitoring.open_item import OpenItem


@dataclass(frozen=True)
class Facts:
    """The state of ledger, Dagster and YAML at one moment.

    Attributes:
        items: the open items; None: Dagster's storage does not answer.
        new: per import, the deliveries that no earlier tick has seen, oldest first.
        project: as its files are now.
        live: imports whose YAML had no mistake once, and that are no drafts.
    """

    project: Project
    items: Sequence[OpenItem] | None
    summaries: Mapping[str, ImportSummary]
    states: Mapping[str, ImportState]
    checks: Mapping[str, SourceCheck]
    new: Mapping[str, Sequence[CommittedDelivery]]
    live: frozenset[str]
    had_groups: bool
    automation: bool

    def status(self, name: str) -> str:
        """`draft`, `active` or `paused`: the ledger's, else the YAML's."""
        spec = self.project.specs.get(name)
        return status_of(self.states.get(name), spec.status if spec is not None else "active")

    @property
    def served(self) -> Iterator[tuple[str, BoundImport]]:
        """Imports without mistakes that are no drafts."""
        for name, bound in self.project.imports.items():
            if self.status(name) != "draft":
                yield name, bound
