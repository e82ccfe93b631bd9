"""Whatever the umask, and however open the folders were: nobody else reads rows, logs or secrets on this machine.

Rows on disk are looked at for as long as they exist. `ingest up`, its daemon and its runs: orchestration/test_up.py.
The embedded Postgres: embedded/test_postgres.py. Both start with the umask 000, too.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import typer
from dagster import DagsterInstance
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_pipelines import pipeline
from ingest_pipelines.cli.app import app
from ingest_pipelines.cli.boundary import Command, ProjectCommand
from ingest_pipelines.model import Workspace
from ingest_pipelines.orchestration import daemon, early_loads, webserver
from ingest_pipelines.orchestration.instance import HERE
from ingest_pipelines.owner_only import (
    STATE_ENTRIES,
    open_private,
    private_file,
    private_folder,
    private_state,
    write_private,
)
from ingest_pipelines.sources import open_upload
from ingest_pipelines.sources.files import item_of
from ingest_pipelines_tests.cli.conftest import starter
from ingest_pipelines_tests.cli.terminal import Terminal
from ingest_pipelines_tests.merge.deliveries import NOW, bound_import
from ingest_pipelines_tests.open_to_others import ever_open_to_others, open_to_others, umask
from ingest_pipelines_tests.orchestration.conftest import GOOD, ONE_BAD, Shop, instance, shop
from ingest_pipelines_tests.pipeline.conftest import Shop as Query
from ingest_pipelines_tests.pipeline.conftest import shop as query

__all__ = ["instance", "query", "shop", "starter"]

ROWS = "CID,Tier,Points\n" + "".join(f"c{n % 60},T,{n if n % 7 else 'many'}\n" for n in range(100))


@pytest.fixture(autouse=True)
def _no_umask() -> Iterator[None]:
    with umask(0):
        yield


def _zipped(content: bytes) -> bytes:
    with zipfile.ZipFile(archive := io.BytesIO(), "w") as file:
        file.writestr("a.csv", content)
    return archive.getvalue()


FORMATS: dict[str, Callable[[bytes], bytes]] = {".csv": bytes, ".csv.gz": gzip.compress, ".csv.zip": _zipped}


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("duplicates", ["last", "reject"])
def test_rows_of_a_file_from_its_landing_to_its_load(tmp_path: Path, ending: str, duplicates: str) -> None:
    file, folder = tmp_path / f"Points{ending}", tmp_path / "state"
    file.write_bytes(FORMATS[ending](ROWS.encode()))
    bound = bound_import(rejects={"unlimited": True}, duplicates=duplicates)
    workspace = Workspace(folder / "spool", folder / "spill")
    folder.mkdir(mode=0o700)
    with ever_open_to_others(folder) as found, open_upload(file) as upload:
        item = item_of("loyalty", upload.stat(str(file)), upload.uri(str(file)), kind="upload")
        validated = pipeline.validate(pipeline.land(item, bound, workspace, NOW), bound, workspace)
        assert validated.rejected_rows
        assert validated.accepted_rows
    assert found == set()


def test_rows_of_a_query_from_their_landing_to_their_load(query: Query) -> None:
    state = query.workspace.spool.parent
    state.chmod(0o700)
    query.source(
        "CREATE TABLE tills (id text, points text, seq int)",
        "INSERT INTO tills VALUES ('A', '1', 1), ('B', '2', 2), ('B', '3', 3), ('A', '4', 4)",
    )
    cursor = {"column": "seq", "start": 0}
    text = "SELECT id, points, seq FROM tills WHERE seq > {lastItem} ORDER BY seq LIMIT 9"
    bound = query.bound(query=text, cursor=cursor)
    with ever_open_to_others(state) as found:
        list(query.drain(bound))
    assert found == set()


@pytest.mark.parametrize("early", [False, True])
def test_what_runs_of_dagster_leave_and_remove(
    shop: Shop, instance: DagsterInstance, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    if early:
        monkeypatch.setattr(early_loads, "LARGE", 0)
    with ever_open_to_others(shop.state) as found:
        shop.deliver("Points_1.csv", GOOD)
        assert shop.run(instance, shop.arrive(instance)).success
        shop.deliver("Points_2.csv", ONE_BAD)
        failed = shop.arrive(instance)
        assert not shop.run(instance, failed).success
        shop.deliver("Points_2.csv", GOOD + "C3,Gold,1,2024-05-01\n")
        assert shop.run(instance, failed).success, "the file was replaced"
    assert {path.name for path in shop.state.iterdir()} >= {"spool", "spill"}
    assert found == set()


def test_what_commands_leave_in_a_state_folder_that_was_open_to_all(starter: Terminal, tmp_path: Path) -> None:
    state, home = tmp_path / "state", tmp_path / "home"
    for folder in (state / "spool" / "run" / "deep", state / "replays", state / "dagster" / "storage", home):
        folder.mkdir(parents=True)
    for name in ("spool/run/deep/rows", "replays/rows.csv", "dagster/storage/out", "up.lock"):
        (state / name).touch()
    shutil.copy(HERE / "dagster.yaml", home)
    settings = {"INGEST_STATE": str(state), "DAGSTER_HOME": str(home)}
    exported, corrected = tmp_path / "rejects.csv", tmp_path / "corrected.csv"
    exported.touch()  # from an earlier export, and open to all
    with ever_open_to_others(state) as found:
        assert starter.ingest("run", "loyalty", **settings).code == 0
        assert starter.ingest("plan", "loyalty", **settings).code == 0
        assert starter.ingest("status", **settings).code == 0
        assert starter.ingest("rejects", "export", "loyalty", "-o", exported, **settings).code == 0
        _correct(exported, corrected)
        answer = starter.ingest("rejects", "replay", "loyalty", corrected, **settings)
        assert answer.code == 0, answer.err
        (starter.folder / "uploads" / "Loyalty.csv").write_text("CID,Email,Tier,Points,Joined\n1,a,Gold,x,y\n2,b,,z,\n")
        assert starter.ingest("run", "loyalty", **settings).code != 0, "all its rows are wrong"
    assert found == set()
    assert stat.S_IMODE(exported.stat().st_mode) == 0o600
    assert [entry for entry in open_to_others(home) if not entry.endswith((" .", " dagster.yaml"))] == []
    assert {path.name for path in state.iterdir()} <= STATE_ENTRIES, "else it would count as shared"


def _correct(exported: Path, corrected: Path) -> None:
    with exported.open(newline="") as file:
        header, row = csv.reader(file)
    joined = dict(zip(header, row, strict=True)) | {"Points": "7", "Joined": "2021-05-05", "Email": "a@example.com"}
    with corrected.open("w", newline="") as file:
        csv.writer(file).writerows([joined.keys(), joined.values()])


def test_every_command_is_private_but_those_that_write_the_project() -> None:
    def leaves(group: object, *words: str) -> Iterator[tuple[str, object]]:
        for name, command in getattr(group, "commands", {}).items():
            yield from leaves(command, *words, name)
        if not hasattr(group, "commands"):
            yield " ".join(words), group

    commands = dict(leaves(typer.main.get_command(app)))
    assert {type(command) for command in commands.values()} == {Command, ProjectCommand}
    assert {name for name, command in commands.items() if type(command) is ProjectCommand} == {
        "dbt-sources",
        "init",
        "new",
        "schema",
    }


def test_what_init_writes_can_be_read_by_the_team(tmp_path: Path) -> None:
    with umask(0o022):
        assert Terminal(tmp_path).ingest("init", tmp_path / "project").code == 0
    for path in (tmp_path / "project", tmp_path / "project" / ".schema" / "import.json"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o044 == 0o044


@pytest.mark.parametrize("process", [daemon, webserver])
def test_processes_of_dagster_are_private_from_their_start(process: object, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = []
    for name in ("run", "serve"):
        monkeypatch.setattr(process, name, lambda *_: masks.append(os.umask(0)), raising=False)
    process.main()  # type: ignore[attr-defined]  # both have it
    assert masks == [0o077]


def test_whatever_loads_the_definitions_is_private(starter: Terminal) -> None:
    """Code servers, runs and steps, whoever starts them: `dagster dev`, a pod, a container, a worker of Celery."""
    code = "import os; os.umask(0); import ingest_pipelines.definitions; print(oct(os.umask(0)))"
    environment = {**os.environ, **starter.environment, "INGEST_HOME": str(starter.folder)}
    said = subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True)
    assert said.stdout == "0o77\n"


RIGHTS = st.integers(0, 0o77).map(lambda others: 0o700 | others)
ENTRIES = st.dictionaries(st.sampled_from(sorted(STATE_ENTRIES - {"up.lock", "serving.lock", "deaths"})), RIGHTS)


@settings(max_examples=25)
@given(RIGHTS, ENTRIES, RIGHTS, st.booleans(), st.integers(0, 0o777))
def test_a_state_folder_of_any_modes_becomes_private(
    rights: int, entries: dict[str, int], below: int, shared: bool, mask: int
) -> None:
    with TemporaryDirectory() as folder:
        _becomes_private(Path(folder, "state"), rights, entries, below, shared=shared, mask=mask)


def _becomes_private(state: Path, rights: int, entries: dict[str, int], below: int, *, shared: bool, mask: int) -> None:
    state.mkdir()
    for name, mode in entries.items():
        (state / name / "below").mkdir(parents=True)
        (state / name / "below").chmod(below if mode & 0o077 else 0o700)  # nobody could enter a private folder
        (state / name).chmod(mode)
    if shared:
        (state / "theirs").mkdir(mode=0o755)
    state.chmod(rights)
    with umask(mask & ~0o700):
        spool = private_folder(private_state(state) / "spool" / "run")
        write_private(spool / "whole", b"rows")
        private_file(spool / "by-a-library").write_bytes(b"rows")
        open_private(spool / "text", "w").close()
    open_entries = [entry.split(" ", 1)[1] for entry in open_to_others(state)]
    if not shared:
        assert open_entries == []
        return
    assert state.stat().st_mode & 0o777 == rights, "others have content in it"
    theirs = {"theirs", ".", "demo", "logs", "demo/below", "logs/below"}
    assert set(open_entries) <= theirs


def test_nobody_else_may_replace_a_state_folder_whose_parents_were_missing(tmp_path: Path) -> None:
    private_state(tmp_path / "a" / "b" / "state")
    assert open_to_others(tmp_path / "a") == []
