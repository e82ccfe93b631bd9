"""Sources, deliveries, people and accidents in any order: table, ledger, audit and Dagster are what one oracle says.

The oracle and the machine are in `whole_way`. Two histories are written down here, so that they are the same in every
run; `test_faults_put_in_on_purpose_are_found` tells them with a fault. Hypothesis makes the slow ones: a failure prints
the steps, and a line that repeats them.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from ingest_pipelines_tests.guarantees.whole_way import oracle, sources
from ingest_pipelines_tests.guarantees.whole_way.broken import FAULTS
from ingest_pipelines_tests.guarantees.whole_way.faults import KILLS, NONE, TARGET
from ingest_pipelines_tests.guarantees.whole_way.histories import Histories
from ingest_pipelines_tests.guarantees.whole_way.machine import CursorHistories, FileHistories, WholeWay
from ingest_pipelines_tests.guarantees.whole_way.oracle import Row
from ingest_pipelines_tests.guarantees.whole_way.place import Place, place_of
from ingest_pipelines_tests.servers.fleet import Fleet

Machine = TypeVar("Machine", bound=Histories)
ACCIDENTS = {accident.name: accident for accident in (*KILLS, *TARGET)}


def ties_and_a_cut(place: Place) -> None:
    """A drain whose LIMIT cuts rows of one value apart loses its connection; a row that is not committed stays out."""
    with of(CursorHistories, place) as history:
        history.begin(seed=1)  # three rows a chunk
        cells = [
            ("a", "zwq", "1", ""), ("b", "zwqé", "2", "zwqx@example.com"), ("c", "", "zwqx", ""),
            ("d", "zwq\nlines", "", ""), ("a", "zwq", "3", "zwqy@example.com"), ("b", "zwq", "2", ""),
        ]  # fmt: skip
        history.read_the_source(cells=cells, seed=4, accident=ACCIDENTS["target cut at merged"])
        history.read_the_source(cells=cells[:1], seed=4, accident=NONE)


def a_mistake_repeated_and_corrected(place: Place) -> None:
    """Two files with the same bad rows are refused; some are corrected, and the replay's COMMIT is not answered."""
    with of(FileHistories, place) as history:
        history.begin(seed=0)  # one reject is allowed
        history.correct_and_replay(seed=11, end="\r\n", bom=True, accident=ACCIDENTS["answer to COMMIT lost"])


def a_person_who_comes_back(place: Place) -> None:
    """Somebody with a profile and a consent, named in another's reject, is forgotten, kept out, and let in again."""
    with of(FileHistories, place) as history:
        history.begin(seed=0)  # one reject is allowed
        rows: list[Row] = [
            ("a", "zwq", "1", "zwqx@example.com"),
            ("b", "zwq", "2", ""),
            ("c", "zwqx@example.com", "x", ""),
        ]
        files: dict[str, Any] = {"end": "\n", "older": 0, "forced": False, "accident": NONE, "seed": 3}
        history.upload(rows=rows, **files)
        history.forget_person("a")
        history.upload(rows=[*rows[:2], ("a", "zwq", "x", "")], **files)
        history.leave(keys=["a", "b", "d"], forced=True, accident=ACCIDENTS["answer to COMMIT lost"])
        history.leave(keys=["d", ""], forced=False, accident=NONE)
        history.deliver(rows=rows[:2], **{**files, "accident": ACCIDENTS["answer to COMMIT lost"]})
        history.remember_person("a")
        history.deliver(rows=rows[:2], **files)


HISTORIES = (a_mistake_repeated_and_corrected, ties_and_a_cut, a_person_who_comes_back)
"""Those of every run."""

FINDS = {
    "a_tie_is_lost_at_the_limit": (ties_and_a_cut, "a chunk of 4 rows"),
    "a_reject_is_booked_on_the_wrong_load": (a_mistake_repeated_and_corrected, "rejects: seen"),
    "a_forgotten_person_is_taken_again": (a_person_who_comes_back, "table: seen"),
    "a_value_stands_in_a_message": (a_mistake_repeated_and_corrected, "a value was told"),
}
"""Which of them finds a fault that is put in on purpose, and what it says."""


@contextmanager
def of(machine: type[Machine], place: Place) -> Iterator[Machine]:
    """A history of that kind."""
    history = type(machine.__name__, (machine,), {"place": place})()
    try:
        yield history
    finally:
        history.teardown()


@pytest.fixture(scope="module")
def place(postgres_url: str, fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Servers, networks and a project on Postgres 18."""
    with place_of(tmp_path_factory.mktemp("place") / "it", fleet, postgres_url) as place:
        yield place


def tell(place: Place, histories: int, steps: int) -> None:
    """So many new histories of so many steps; the first does nothing."""
    run_state_machine_as_test(
        type("WholeWay", (WholeWay,), {"place": place}),
        settings=settings(
            max_examples=histories, stateful_step_count=steps, print_blob=True, database=None, deadline=None,
            suppress_health_check=list(HealthCheck), phases=[Phase.generate],
        ),
    )  # fmt: skip


@pytest.mark.parametrize("history", HISTORIES)
def test_the_whole_way_agrees_with_the_model(place: Place, history: Callable[[Place], None]) -> None:
    history(place)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_many_histories_agree_with_the_model(place: Place, part: int) -> None:
    tell(place, 20, 30)


@pytest.mark.slow
def test_many_histories_on_postgres_15_agree_with_the_model(postgres_15_url: str, fleet: Fleet, tmp_path: Path) -> None:
    with place_of(tmp_path / "it", fleet, postgres_15_url) as place:
        tell(place, 20, 30)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_put_in_on_purpose_are_found(postgres_url: str, fleet: Fleet, tmp_path: Path, fault: str) -> None:
    history, says = FINDS[fault]
    with (
        place_of(tmp_path / "it", fleet, postgres_url, breaks=fault) as place,
        pytest.raises(AssertionError, match=says),
    ):
        history(place)


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
