"""Alerts about YAML: files whose mistakes stop imports, or hide who is told."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ingest_pipelines.orchestration.alerts.conditions import Condition
from ingest_pipelines.orchestration.alerts.facts import Facts
from ingest_pipelines.orchestration.alerts.recipients import notify_mistakes

_ELSEWHERE = re.compile(r"cannot be used: ((?:connections|databases)\.yaml):\d+: ")


def broken_yaml(facts: Facts) -> Iterator[Condition]:
    """Files whose mistakes stop imports that were live, and mistakes that hide who is told."""
    elsewhere: dict[str, list[str]] = {}
    for name, error in facts.project.broken.items():
        if name not in facts.live or facts.status(name) == "draft":
            continue
        files = [match[1] for match in map(_ELSEWHERE.search, error.mistakes) if match]
        if len(files) == len(error.mistakes):
            elsewhere.setdefault(files[0], []).append(name)
        else:
            own = [mistake for mistake in error.mistakes if not _ELSEWHERE.search(mistake)]
            yield Condition(
                name, "config", "\n".join([*own, "the import does not run until this is fixed"]),
                next_step=f"ingest check {name}", reason=_place(own[0]),
            )  # fmt: skip
    for file, names in elsewhere.items():
        mistakes = [mistake for mistake in facts.project.mistakes if mistake.startswith(f"{file}:")]
        yield Condition(
            "", "config", "\n".join([*_some(mistakes), "these imports do not run until this is fixed"]),
            next_step="ingest check", reason=_place(mistakes[0]) if mistakes else "it has mistakes", cause=file,
            imports=tuple(sorted(names)),
        )  # fmt: skip
    hidden = notify_mistakes(facts.project)
    if hidden and facts.had_groups:
        yield Condition(
            "", "config", "\n".join([*_some(hidden), "until this is fixed, alerts go to the recipients of before"]),
            next_step="ingest check", reason=_place(hidden[0]), cause="notify",
        )  # fmt: skip


def _place(mistake: str) -> str:
    """`imports/points.yaml:5: columns.Points.type`: where a mistake stands, without the text that stands there."""
    file, _, rest = mistake.partition(": ")
    key = rest.partition(": ")[0]
    return f"{file}: {key}" if re.fullmatch(r"[\w.\- ]{1,80}", key) else file


def _some(mistakes: Sequence[str], most: int = 10) -> list[str]:
    more = [f"and {len(mistakes) - most:,} more mistakes: ingest check"] if len(mistakes) > most else []
    return [*mistakes[:most], *more]
