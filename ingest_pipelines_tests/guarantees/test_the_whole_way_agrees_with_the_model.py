"""Sources, deliveries, people and accidents in any order: table, ledger, audit and Dagster are what one oracle says.

The oracle and the machine are in `whole_way`. A failure prints the steps, and a line that repeats them. A few histories
are the same in every run, and `test_faults_put_in_on_purpose_are_found` tells them with a fault; the others are new.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from ingest_pipelines_tests.guarantees.whole_way import oracle, sources
from ingest_pipelines_tests.guarantees.whole_way.broken import FAULTS
from ingest_pipelines_tests.guarantees.whole_way.machine import CursorHistories, FileHistories, Histories, WholeWay
from ingest_pipelines_tests.guarantees.whole_way.place import Place, place_of
from ingest_pipelines_tests.servers.fleet import Fleet

CHOSEN: list[tuple[type[Histories], int, int]] = [
    (CursorHistories, 40, 7),
    (CursorHistories, 44, 7),
    (FileHistories, 10, 9),
    (FileHistories, 5, 9),
    (WholeWay, 1, 8),
]
"""The seed of a history, and its steps."""


@pytest.fixture(scope="module")
def place(postgres_url: str, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Servers, networks and a project on Postgres 18."""
    with place_of(tmp_path_factory.mktemp("place") / "it", fleet, postgres_url) as place:
        yield place


def tell(place: Place, machine: type[Histories], histories: int, steps: int, chosen: int | None = None) -> None:
    """So many histories of so many steps; `chosen`: the seed that repeats them."""
    histories_here = type(machine.__name__, (machine,), {"place": place})
    run_state_machine_as_test(
        histories_here if chosen is None else seed(chosen)(histories_here),
        settings=settings(
            max_examples=histories, stateful_step_count=steps, print_blob=chosen is None, database=None, deadline=None,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate],
        ),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("machine", "chosen", "steps"), CHOSEN)
def test_the_whole_way_agrees_with_the_model(place: Place, machine: type[Histories], chosen: int, steps: int) -> None:
    tell(place, machine, 2, steps, chosen)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_many_histories_agree_with_the_model(place: Place, part: int) -> None:
    tell(place, WholeWay, 20, 30)


@pytest.mark.slow
def test_many_histories_on_postgres_15_agree_with_the_model(postgres_15_url: str, fleet: Fleet, tmp_path: Path) -> None:
    with place_of(tmp_path / "it", fleet, postgres_15_url) as place:
        tell(place, WholeWay, 20, 30)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_put_in_on_purpose_are_found(postgres_url: str, fleet: Fleet, tmp_path: Path, fault: str) -> None:
    with place_of(tmp_path / "it", fleet, postgres_url, breaks=fault) as place, pytest.raises(AssertionError):
        tell_all(place)


def tell_all(place: Place) -> None:
    """The histories that are the same in every run."""
    for machine, chosen, steps in CHOSEN:
        tell(place, machine, 2, steps, chosen)


@pytest.mark.parametrize("module", [oracle, sources])
def test_the_oracle_shares_no_code_with_the_product(module: object) -> None:
    own = "ingest_pipelines_tests.guarantees.whole_way.sources"
    tree = ast.parse(Path(str(getattr(module, "__file__", ""))).read_text(encoding="utf-8"))
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
    }
    assert {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names} <= {own}
