"""A full file with far fewer rows than the last one is held, told, and loaded only by force; no profile is deleted."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ingest_pipelines_tests.cli.terminal import Answer
from ingest_pipelines_tests.guarantees.projects import Project, new_project


@pytest.fixture(scope="module")
def project(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project whose import has loaded a snapshot of 100 rows, two of them rejected."""
    with new_project(postgres_url, tmp_path_factory.mktemp("shrunken")) as project:
        project.write_import(source={"connection": "uploads", "file": "People", "settle": "0s"}, shrink={})
        first = snapshot(project, 1, 100)
        assert first.code == 0, first.err
        assert len(project.table()) == 98
        yield project


def snapshot(project: Project, number: int, rows: int, *words: str) -> Answer:
    """What `ingest run` says after a snapshot of so many rows arrived, each with the delivery's number in it."""
    file = project.folder / "uploads" / f"People_{number}.csv"
    lines = [f"{row},{number},{'x' if row < 2 else row}" for row in range(rows)]
    file.write_text("\n".join(["id,note,points", *lines, ""]))
    os.utime(file, (1_800_000_000 + number, 1_800_000_000 + number))
    return project.terminal.ingest("run", "people", "--json", *words)


def notes(project: Project) -> dict[str, int]:
    """How many profiles each delivery has last written."""
    return dict(project.rows("SELECT note, count(*) FROM crm.people GROUP BY note"))


def test_a_snapshot_below_the_limit_is_held_told_and_loaded_by_force_alone(project: Project) -> None:
    for number, rows in ((2, 1), (4, 49)):
        held = snapshot(project, number, rows)
        assert held.code == 1
        assert "shrunk: " in held.err
        assert f"ingest run people --item {held.json[0]['item']} --force" in " ".join(held.err.split())
        assert notes(project) == {"1": 98}
    (status,) = project.terminal.ingest("status", "--json").json
    assert status["status"] == "failed"
    assert "shrunk" in project.terminal.ingest("status").out
    forced = project.terminal.ingest("run", "people", "--item", held.json[0]["item"], "--force", "--json")
    assert forced.code == 0, forced.err
    assert notes(project) == {"4": 47, "1": 51}, "what the snapshot lacks stays"


def test_a_snapshot_at_the_limit_is_loaded_and_deletes_nothing(project: Project) -> None:
    before = len(project.table())
    assert snapshot(project, 10, 100, "--force").code == 0
    at_the_limit = snapshot(project, 11, 50)
    assert at_the_limit.code == 0, at_the_limit.err
    assert len(project.table()) == before
    assert notes(project) == {"11": 48, "10": 50}
