"""Every expected error is words, a next step and an exit code; never a traceback, never a secret."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from ingest_pipelines.errors import Unavailable, UsageError, file_error
from ingest_pipelines_tests.cli.terminal import Terminal
from ingest_pipelines_tests.config.projects import RIGHT, with_line, write_project
from ingest_pipelines_tests.waiting import until_it


def test_a_mistyped_import_is_exit_2_and_names_the_nearest(terminal: Terminal) -> None:
    write_project(terminal.folder, RIGHT)
    for words in (["run", "loyalti"], ["report", "loyalti"], ["rejects", "list", "loyalti"], ["check", "loyalti"]):
        answer = terminal.ingest(*words, VENDOR_PW="x")
        assert answer.code == 2
        assert answer.out == ""
        assert "there is no import 'loyalti'" in answer.err
        assert answer.err.endswith("did you mean 'loyalty'?\n")


def test_a_mistyped_command_is_exit_2_and_names_the_nearest(terminal: Terminal) -> None:
    answer = terminal.ingest("chekc")
    assert answer.code == 2
    assert "Did you mean 'check'?" in answer.err


@pytest.fixture
def storage_is_asked_without_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster asks six times, with pauses of 10 s in all."""
    monkeypatch.setattr("dagster_postgres.utils.calculate_delay", lambda **_: 0.0)


@pytest.fixture
def nobody_listens_to_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process of its own, where Python prints what libraries log."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])


@pytest.mark.usefixtures("storage_is_asked_without_pause", "nobody_listens_to_logs")
def test_a_target_that_does_not_answer_is_exit_3_and_never_shows_its_password(terminal: Terminal) -> None:
    write_project(terminal.folder, RIGHT)
    for words in (["status"], ["report", "loyalty"], ["run", "loyalty"], ["rejects", "list", "loyalty"]):
        answer = terminal.ingest(*words, VENDOR_PW="x", INGEST_DAGSTER_URL=terminal.environment["INGEST_DATABASE_URL"])
        assert answer.code == 3, answer
        assert answer.err.startswith("error: ")
        assert "Traceback" not in answer.err
        assert "secret-of-the-target" not in answer.out + answer.err


@pytest.mark.usefixtures("storage_is_asked_without_pause")
def test_a_storage_of_dagster_that_does_not_answer_is_exit_3_too(
    starter: Terminal, caplog: pytest.LogCaptureFixture
) -> None:
    answer = starter.ingest("run", "loyalty", INGEST_DAGSTER_URL="postgresql://nobody:hidden@127.0.0.1:1/none")
    assert set(caplog.messages) <= {"Dagster's storage does not answer; it is asked again"}, "the server's own words"
    assert answer.code == 3
    assert answer.err == (
        "error: Dagster's storage does not answer\n  nothing ran; check INGEST_DAGSTER_URL, then run it again\n"
    )


def test_a_folder_that_cannot_be_written_is_named_and_nothing_ran(starter: Terminal, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = {
        tmp_path / "file" / "state": "not a folder",
        tmp_path / ("n" * 300): "the name is too long",
        Path("/sys/kernel/state"): "this account has no permission",  # nobody makes folders there, not even root
    }
    for state, why in refused.items():
        for words in (["run", "loyalty"], ["plan", "loyalty"], ["status"], ["up"], ["demo"]):
            answer = starter.ingest(*words, INGEST_STATE=str(state))
            assert answer.code == 2, (words, answer)
            assert why in answer.err, (words, answer)
            assert "INGEST_STATE=DIR ingest ..." in answer.err
            assert "Traceback" not in answer.err
        answer = starter.ingest("init", state / "project")
        assert (answer.code, answer.err.startswith("error: ")) == (2, True), answer
        assert why in answer.err


def test_init_names_the_first_file_that_it_may_not_write(terminal: Terminal) -> None:
    """An empty folder that nobody writes into, not even root."""
    folder = next(path for path in Path("/sys/kernel").iterdir() if path.is_dir() and not any(path.iterdir()))
    answer = terminal.ingest("init", folder)
    assert answer.code == 2
    assert answer.err.startswith(f"error: {folder}/")
    assert answer.err.endswith("this account has no permission\n  name another folder\n")


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_what_the_file_system_refuses_is_a_sentence_whatever_it_is(number: int) -> None:
    error = file_error(OSError(number, os.strerror(number), b"/srv/caf\xe9.csv"))
    if number in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}:
        assert isinstance(error, UsageError)
    if number in {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE}:
        assert isinstance(error, Unavailable)
    assert error is None or error.message.startswith("/srv/caf\\udce9.csv: ")


@pytest.mark.parametrize("name", [b"caf\xe9.csv", b"\xff\xfe", b"a\x80b.csv"])
def test_a_name_that_is_not_utf_8_is_refused_in_a_sentence(starter: Terminal, tmp_path: Path, name: bytes) -> None:
    file = tmp_path / os.fsdecode(name)
    shutil.copyfile(starter.folder / "uploads" / "Loyalty.csv", file)
    below = tmp_path / f"folder {os.fsdecode(name)}"
    below.mkdir()
    shutil.copyfile(file, below / "Loyalty.csv")
    for words in (["run", "loyalty", "--file", file], ["plan", "loyalty", "--file", file], ["check", file.name],
                  ["rejects", "replay", "loyalty", file], ["run", "loyalty", "--item", file.name]):  # fmt: skip
        answer = starter.ingest(*words)
        assert answer.code == 2, (words, answer)
        assert "is not UTF-8" in answer.err
        assert "Traceback" not in answer.err
    inside = Terminal(below, {**starter.environment, "INGEST_HOME": str(starter.folder)})
    answer = inside.ingest("run", "loyalty", "--file", "Loyalty.csv")
    assert (answer.code, "is not UTF-8" in answer.err) == (2, True), answer


@pytest.mark.parametrize(
    "name", ["two\nlines.csv", "\x1b[31mred\x1b[0m.csv", f"{'n' * 250}.csv", "\u202egpj.csv", "a b'c\"d.csv"]
)
def test_a_name_of_any_other_letters_is_loaded_and_shown_in_one_line(
    starter: Terminal, tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    lines = (starter.folder / "uploads" / "Loyalty.csv").read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([*lines, f"C-{len(name)},new@example.com,Gold,1,2024-01-15", ""]), encoding="utf-8")
    answer = starter.ingest("run", "loyalty", "--file", file, "--force")
    assert answer.code in {0, 4}, answer
    shown = starter.ingest("report", "loyalty").out + answer.out + answer.err
    assert "\x1b[31m" not in shown
    assert "\u202e" not in shown


def test_debug_shows_where_in_the_code_an_error_came_from(terminal: Terminal) -> None:
    answer = terminal.ingest("--debug", "report", "loyalty", INGEST_HOME="nowhere")
    assert answer.code == 2
    assert "Traceback" in answer.err
    assert "read_settings" in answer.err


@pytest.mark.parametrize("there", ["nothing", "a file", "no project"])
def test_a_project_that_is_not_there_is_told_by_each_command_and_nothing_is_made(
    terminal: Terminal, there: str
) -> None:
    home = terminal.folder / there
    if there == "a file":
        home.write_text("x")
    elif there == "no project":
        home.mkdir()
    for words in (
        ["status"], ["status", "--json"], ["status", "loyalty"], ["check"], ["plan", "loyalty"], ["run", "loyalty"],
        ["activate", "loyalty"], ["pause", "loyalty"], ["report", "loyalty"], ["alerts"], ["events"], ["audit"],
        ["unlock", "loyalty"], ["purge"], ["notify", "test"], ["rejects", "list", "loyalty"], ["dbt-sources"],
        ["history", "loyalty", "x"], ["rejects", "export", "loyalty"], ["cursor", "show", "loyalty"],
        ["browse", "vendor"], ["new", "more"], ["skip", "loyalty", "--item", "x"], ["forget", "people", "C1"],
        ["up"], ["studio"], ["demo"],
    ):  # fmt: skip
        answer = terminal.ingest(*words, INGEST_HOME=str(home))
        assert answer.code == 2, words
        assert f"error: INGEST_HOME: {home}: there is no " in answer.err, (words, answer.err)
        assert "ingest init DIR" in answer.err
        assert home.is_dir() == (there == "no project")
        assert there != "no project" or not list(home.iterdir())


def test_all_config_mistakes_come_in_one_go_with_exit_2(terminal: Terminal) -> None:
    loyalty = with_line(RIGHT["imports/loyalty.yaml"], "  Tier: tier", "  Tier: teir")
    write_project(terminal.folder, {**RIGHT, "imports/loyalty.yaml": loyalty, "imports/other.yaml": "a: 1\n"})
    answer = terminal.ingest("check", VENDOR_PW="x")
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.splitlines()[0] == f"error: 5 mistakes in {terminal.folder}"
    assert "imports/loyalty.yaml:7: columns.Tier: 'teir' is not a field" in answer.err
    assert "imports/other.yaml:1: a: unknown key" in answer.err


def test_a_good_import_runs_beside_a_broken_one(terminal: Terminal) -> None:
    write_project(terminal.folder, {**RIGHT, "imports/broken.yaml": "a: 1\n"})
    answer = terminal.ingest("check", "loyalty", VENDOR_PW="x")
    assert answer.code == 0
    assert terminal.ingest("check", "broken", VENDOR_PW="x").code == 2


def test_two_ways_to_say_what_to_load_is_one_too_many(terminal: Terminal) -> None:
    answer = terminal.ingest("run", "loyalty", "--item", "a", "--file", "b")
    assert answer.code == 2
    assert "--item, --file and --failed exclude each other" in answer.err


def test_a_file_or_item_that_is_not_there_is_named(starter: Terminal) -> None:
    (starter.folder / "Points_march.csv").touch()
    for words in (
        ["run", "loyalty", "--file"], ["plan", "loyalty", "--file"], ["rejects", "replay", "loyalty"],
        ["forget", "customers", "--plan", "--file"],
    ):  # fmt: skip
        missing = starter.ingest(*words, "Points_march.cvs")
        assert missing.code == 2
        assert "Points_march.cvs does not exist\n  nothing ran; did you mean 'Points_march.csv'?" in missing.err
    folder = starter.ingest("run", "loyalty", "--file", "imports")
    assert folder.code == 2
    assert "imports is not a regular file\n  nothing ran; name a file" in folder.err
    code = starter.ingest("rejects", "list", "loyalty", "--code", "bad_itn")
    assert (code.code, code.out) == (2, "")
    assert "there is no code 'bad_itn'\n  did you mean 'bad_int'?" in code.err
    unknown = starter.ingest("run", "loyalty", "--item", "no-such-item")
    assert unknown.code == 2
    assert "import loyalty: there is no item no-such-item" in unknown.err


def test_ctrl_c_in_a_load_is_exit_130_and_changes_nothing(starter: Terminal) -> None:
    url = starter.environment["INGEST_DATABASE_URL"]
    assert starter.ingest("run", "loyalty", "--force").code == 0
    with psycopg.connect(url) as holder, psycopg.connect(url, autocommit=True) as witness:
        before = holder.execute("SELECT count(*) FROM crm.customers").fetchone()
        holder.execute("LOCK TABLE crm.customers IN ACCESS EXCLUSIVE MODE")
        (starter.folder / "more.csv").write_text("CID,Email,Tier,Points,Joined\n" + "7,g@example.com,Gold,1,\n" * 1)
        process = starter.process("run", "loyalty", "--file", "more.csv", "--force")
        waits = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation IS NOT NULL"
        until_it(process, lambda: witness.execute(waits).fetchone())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Traceback" not in err
        assert "it is safe to run it again" in err
        holder.rollback()
        assert holder.execute("SELECT count(*) FROM crm.customers").fetchone() == before


CTRL_C_AT = """
import os, signal, sys
module = sys.argv.pop(1)
class Finder:
    def find_spec(self, name, *rest):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Finder())
from ingest_pipelines.cli import main
main()
"""


@pytest.mark.parametrize(
    "module", ["ingest_pipelines.cli.app", "click", "rich.markdown", "ingest_pipelines.config.project"]
)
def test_ctrl_c_while_a_command_starts_is_exit_130_without_a_traceback(terminal: Terminal, module: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", CTRL_C_AT, module, "check", "--help" if module == "rich.markdown" else "--json"],
        capture_output=True, text=True, check=False, cwd=terminal.folder,
    )  # fmt: skip
    assert ran.returncode == 130
    assert "Traceback" not in ran.stderr
    assert "stopped" in ran.stderr


def test_ctrl_c_while_the_target_says_nothing_is_exit_130(terminal: Terminal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none"
        process = terminal.process("status", INGEST_DATABASE_URL=url)
        connection, _ = silent.accept()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        connection.close()
    assert process.returncode == 130
    assert "Traceback" not in err


def test_a_taken_port_is_exit_2_and_names_the_option(starter: Terminal) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = starter.ingest("up", "--port", port)
    assert answer.code == 2
    assert answer.err == f"error: port {port} is taken\n  choose another: ingest up --port 8080\n"


@pytest.mark.parametrize("words", [["schema"], ["--help"], ["check"]])
def test_a_reader_that_has_seen_enough_is_no_error(terminal: Terminal, words: list[str]) -> None:
    write_project(terminal.folder, RIGHT)
    process = terminal.process(*words, VENDOR_PW="x")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    process.wait(timeout=60)
    process.stderr.close()
    assert "Traceback" not in err
    assert process.returncode in {0, 1}


def test_help_is_instant_and_loads_nothing_heavy(tmp_path: Path) -> None:
    probe = """
import sys, time
start = time.process_time()
import ingest_pipelines.cli.app
spent = time.process_time() - start
heavy = {"polars", "dagster", "pyarrow", "sqlalchemy", "pandera", "psycopg", "pandas", "paramiko", "boto3"}
print(spent, sorted(heavy & set(sys.modules)))
"""
    best = min(
        subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.split(" ", 1)
        for _ in range(3)
    )
    assert best[1] == "[]\n"
    assert float(best[0]) < 0.3


def test_a_value_that_does_not_fit_an_option_is_told_in_our_words(terminal: Terminal) -> None:
    for words, expected in (
        (["report", "loyalty", "--last", "0"], "must be at least 1"),
        (["up", "--port", "99999"], "must be at most 65535"),
        (["rejects", "list", "loyalty", "--load", "x"], "expected a whole number"),
        (["schema", "nope"], "'nope' is not one of"),
    ):
        answer = terminal.ingest(*words)
        told = " ".join(answer.err.replace("\u2502", "").split())
        assert answer.code == 2
        assert expected in told
        assert "Input should" not in told
        assert "Value error" not in told


@pytest.mark.parametrize(
    "command", ["report", "browse", "schema", "forget", "rejects list", "cursor set", "notify test"]
)
def test_help_has_no_types_of_python_and_no_brackets_that_mean_nothing(terminal: Terminal, command: str) -> None:
    text = terminal.ingest(*command.split(), "--help").out
    assert not re.search(r"<\w|\[\[|[{}]", text), text


def test_remember_without_a_key_names_its_own_command(terminal: Terminal) -> None:
    write_project(terminal.folder, RIGHT)
    assert "ingest remember customers KEY" in terminal.ingest("remember", "customers", VENDOR_PW="x").err


def test_a_drivers_own_log_is_not_printed(terminal: Terminal) -> None:
    connection = "type: hive, host: 127.0.0.1, port: 1, database: d, username: u, retries: 0"
    write_project(terminal.folder, {**RIGHT, "connections.yaml": f"connections: {{lake: {{{connection}}}}}\n"})
    out, err = (command := terminal.process("browse", "lake")).communicate(timeout=60)
    assert (command.returncode, out) == (3, "")
    assert err.startswith("error: hive://127.0.0.1:1/d: ")
