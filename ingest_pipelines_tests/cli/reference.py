"""docs/cli.md, written from the commands themselves: `python -m ingest_pipelines_tests.cli.reference`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import typer
from click import unstyle

from ingest_pipelines.cli.app import _COMMANDS, app
from ingest_pipelines.cli.status_text import status_text

FILE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"

HEAD = """\
# The command line

<!-- Written by `python -m ingest_pipelines_tests.cli.reference`; a test fails if it is out of date. -->

`ingest COMMAND --help` prints the same in the terminal; `ingest --install-completion` completes commands and imports.
Every command that reads takes `--json`: the answer alone on stdout, remarks on stderr.

| exit code | means |
|---|---|
| 0 | done |
| 1 | a load did not commit; nothing was merged |
| 2 | a mistake in the YAML files or in the command |
| 3 | a source or the target does not answer, or refuses |
| 4 | more rows were rejected than the import allows; nothing was merged, the rejects are kept |
| 130 | Ctrl-C |

`INGEST_HOME` names the project's folder. Without it, the working directory is the project if it holds a
`connections.yaml` or a `databases.yaml`, otherwise the demo is. `INGEST_DATABASE_URL` is the target. Without it, an
embedded Postgres is the target, under `INGEST_STATE` (`.ingest` in the project's folder). It runs as long as the
command, or as `ingest up`.
"""

EXAMPLES = {
    "check": ["ingest check", "ingest check loyalty --rules", "ingest check --connect"],
    "schema": ["ingest schema --output .schema"],
    "dbt-sources": ["ingest dbt-sources --output models/sources.yml"],
    "browse": ["ingest browse vendor_sftp", "ingest browse vendor_sftp loyalty/Points_1767225600.csv --columns"],
    "new": ["ingest new loyalty", "ingest new loyalty --connection vendor_sftp --path loyalty/Points.csv --yes"],
    "plan": ["ingest plan loyalty", "ingest plan loyalty --file fixed.csv", "ingest plan loyalty --in-dagster"],
    "run": ["ingest run loyalty", "ingest run loyalty --file Points.csv", "ingest run loyalty --item ITEM --force"],
    "status": [
        "ingest status",
        "ingest status orders",
        "ingest status --watch",
        "ingest status --json | jq '.[].open'",
    ],
    "skip": ["ingest skip orders --item 2026-10-02 --reason 'the shop was closed'", "ingest skip orders --failed"],
    "forget": [
        "ingest forget customers C-1001 --plan",
        "ingest forget customers --file keys.txt --yes",
        "ingest forget customers C-1001 --proof",
    ],
    "remember": ["ingest remember customers C-1001"],
    "report": ["ingest report loyalty --last 3", "ingest report loyalty --json | jq '.[0].rejected'"],
    "events": ["ingest events loyalty", "ingest events --follow --json"],
    "alerts": ["ingest alerts", "ingest alerts --json"],
    "notify test": ["ingest notify test", "ingest notify test on_call"],
    "audit": ["ingest audit", "ingest audit loyalty --since 7d --json"],
    "rejects list": ["ingest rejects list loyalty --code bad_date", "ingest rejects list loyalty --load 12 --json"],
    "rejects export": ["ingest rejects export loyalty --output rejects.csv"],
    "rejects replay": ["ingest rejects replay loyalty rejects.csv"],
    "cursor set": ["ingest cursor set orders 120000"],
}


NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)


def _line(
    name: str,
    status: str,
    next_run: str,
    noun: str,
    items: list[dict[str, Any]],
    rows: int,
    source: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """An import as `ingest status --json` has it, with what the text shows."""
    return {
        "import": name, "status": status, "load": 7, "read": rows, "inserted": rows // 9, "updated": 0, "rejected": 0,
        "started_at": NOW - timedelta(hours=3), "committed_at": NOW - timedelta(hours=3), "next": next_run, "error": "",
        "items": noun, "source": source, "open": items, "open_counts": dict(Counter(item["state"] for item in items)),
    }  # fmt: skip


def _item(name: str, key: str, state: str, hours: int, reason: str, next_step: str = "") -> dict[str, Any]:
    since = NOW - timedelta(hours=hours)
    return {"import": name, "item": key, "state": state, "since": since, "reason": reason, "next_step": next_step}


_REASON = "300 of 2,001 rows were rejected, and the import allows 10"
HUNG = {
    "connection": "vendor_sftp", "trouble": "hung", "failing_since": NOW - timedelta(minutes=12), "step": "login",
    "error": "connection vendor_sftp: the server answered nothing for 20 s",
}  # fmt: skip

STATUS = [
    _line(
        "orders", "failed", "2 Nov 10:00", "window",
        [
            *(
                _item("orders", f"2026-10-{day}", "failed", 24 * (32 - day), _REASON, "ingest run orders --item K")
                for day in range(18, 30)
            ),
            _item(
                "orders", "2026-10-31", "running", 1,
                "waits for pool target_crm_customers: run 3f9a1c2b of import loyalty, item Points_8.csv holds it",
            ),
        ],
        18_204,
    ),
    _line("loyalty", "completed", "a file", "file",
          [_item("loyalty", "loyalty/Points_9.csv", "settling", 0, "the file may still be changing")], 2_001),
    _line("stores", "completed", "a file", "file", [], 84, HUNG),
]  # fmt: skip
"""What the page's example of `ingest status` shows."""

OUTPUTS = {"status": lambda: "\n".join(status_text(STATUS, NOW))}


def commands() -> Iterator[tuple[str, str, Any]]:
    """(panel, full name, command) of every command, groups unfolded, in the order of `ingest --help`."""
    root = typer.main.get_command(app)
    panels = {_name(function): panel for panel, members in _COMMANDS.items() for function in members}
    for name, command in root.commands.items():  # type: ignore[attr-defined]  # a group
        below = getattr(command, "commands", None)
        if below is None:
            yield panels[name], name, command
        else:
            for inner, each in below.items():
                yield command.rich_help_panel, f"{name} {inner}", each


def reference() -> str:
    """The whole page."""
    panels: dict[str, list[str]] = {}
    for panel, name, command in commands():
        panels.setdefault(panel, []).append(_section(name, command))
    return "\n".join([HEAD, *(f"## {panel}\n\n" + "\n".join(parts) for panel, parts in panels.items())])


def _name(function: Any) -> str:
    return str(function.__name__).rstrip("_").replace("_", "-")


def _section(name: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option" and each.name != "help"]
    usage = " ".join([f"ingest {name}", *(_metavar(each) for each in arguments), *(["[OPTIONS]"] if options else [])])
    rows = [(f"`{_text(_metavar(each))}`", each.help) for each in arguments]
    rows += [(f"`{_spelled(each)}`", each.help) for each in options]
    lines = [f"### `{usage}`", "", _text(command.help), ""]
    if rows:
        lines += ["| | |", "|---|---|", *(f"| {left} | {_text(right)} |" for left, right in rows), ""]
    if name in EXAMPLES:
        lines += ["```", *EXAMPLES[name], "```", ""]
    if name in OUTPUTS:
        lines += ["```", unstyle(OUTPUTS[name]()).strip(), "```", ""]
    return "\n".join(lines)


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.upper())


def _spelled(option: Any) -> str:
    names = ", ".join(option.opts)
    return names if option.is_flag else f"{names} {option.metavar or 'N'}"


def _text(text: str | None) -> str:
    return re.sub(r"\s*\n\s*\n\s*", "\n\n", text or "").replace("|", "\\|").strip()


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(reference(), encoding="utf-8")
