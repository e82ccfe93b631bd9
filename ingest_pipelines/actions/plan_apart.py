"""A plan of files that are not written yet, in a process of its own (`apart`): reports its stages, can be cancelled.

Its answer is `{"plan": {...}}` or `{"error": ..., "hint": ...}`. Nothing of a plan is ever committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ingest_pipelines.actions.apart import asked, report
from ingest_pipelines.errors import IngestError

if TYPE_CHECKING:
    from ingest_pipelines.config import Settings

SAMPLES = 20
"""Rejects that the answer has."""


def main() -> None:
    """Plans what it is asked: `{"import": NAME, "drafts": {FILE: TEXT}}`."""
    from ingest_pipelines.config import read_settings

    request = asked()
    try:
        report(planned(read_settings(), request["import"], request["drafts"]))
    except IngestError as error:
        report({"error": error.message, "hint": error.hint})
    except KeyboardInterrupt:
        report({"error": "the plan was cancelled", "hint": "nothing was changed"})


def planned(settings: Settings, name: str, drafts: Mapping[str, str]) -> dict[str, Any]:
    """What a load of the import would do if the drafts were written; rolled back."""
    from ingest_pipelines.actions.planning import plan_here, plan_json
    from ingest_pipelines.config import read_project
    from ingest_pipelines.orchestration.site import Site

    found = plan_here(Site(settings, read_project(settings.home, drafts)), name, lambda stage: report({"stage": stage}))
    samples = [
        {"line": sample.line, "field": sample.field, "code": sample.code, "reason": sample.reason}
        for sample in found.samples[:SAMPLES]
    ]
    return {"plan": {**plan_json(found), "samples": samples}}


if __name__ == "__main__":
    main()
