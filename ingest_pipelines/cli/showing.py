"""`ingest demo`: copies the packaged project, loads two deliveries, reports."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import Json
from ingest_pipelines.cli.reports import load_json
from ingest_pipelines.errors import ConfigError
from ingest_pipelines.model import item_name, spelled_line
from ingest_pipelines.owner_only import private_folder, private_state

if TYPE_CHECKING:
    import psycopg

    from ingest_pipelines.actions.launcher import Launcher
    from ingest_pipelines.config import Project, Settings
    from ingest_pipelines.demo.generate import DemoDelivery
    from ingest_pipelines.ledger import Load, Reject

COUNTS = ("read", "inserted", "updated", "unchanged", "unmatched", "rejected")


@dataclass(frozen=True)
class Shown:
    """A delivery, its load, and one reject for every rule that its rows broke.

    Attributes:
        again: an earlier `ingest demo` loaded it.
    """

    delivery: DemoDelivery
    load: Load
    examples: Sequence[Reject]
    again: bool


def demo(json: Json = False) -> None:
    """Load the demo: a shop's customers, three feeds, two deliveries with planted defects, one report.

    Running it again shows the same loads and changes nothing. To start over, delete the state folder (.ingest).
    """
    from ingest_pipelines.config import read_project, read_settings

    settings = read_settings()
    settings = replace(settings, home=settings.demo)
    private_state(settings.state)
    lay_out_demo(private_folder(settings.home))
    project = read_project(settings.home)
    if project.mistakes:
        hint = f"fix them in {settings.home}, or delete that folder and try again"
        raise ConfigError(project.mistakes, hint=hint)
    with screen.progress("the demo") as show:
        shown = list(_deliver(settings, project, show))
    if json:
        screen.as_json([load_json(delivered.load) for delivered in shown])
        return
    _print(shown, settings.home)


def lay_out_demo(home: Path) -> None:
    """Copies the demo project into `home`. Existing files are not overwritten: a person may have edited them."""
    from ingest_pipelines.config import demo_home

    for source in sorted(demo_home().rglob("*.yaml")):
        target = home / source.relative_to(demo_home())
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def _deliver(settings: Settings, project: Project, show: Callable[[str], None]) -> Iterator[Shown]:
    """Every delivery in order of arrival; loads those that are newer than the feed's last committed one."""
    from ingest_pipelines import ledger
    from ingest_pipelines.actions.target import ledger_of
    from ingest_pipelines.cli.loading import launcher
    from ingest_pipelines.demo.generate import deliveries

    show("making 113,000 rows with known defects")
    made = list(deliveries())
    show("starting Postgres")
    with ExitStack() as stack:
        launch: Launcher | None = None
        for delivery in made:
            name = delivery.feed.name
            with ledger_of(settings) as connection:
                newest = ledger.newest_committed(connection, name)
            delivery.write(settings.home / "deliveries")
            again = newest is not None and (newest.serial or 0) >= delivery.serial
            if not again:
                launch = launch or stack.enter_context(launcher(settings, project))
                outcome = launch(name, on_stage=lambda stage, what=delivery.path: show(f"{what}: {stage}"))
                if outcome.error is not None:
                    raise outcome.error
            with ledger_of(settings) as connection:
                yield _shown(connection, delivery, again=again)


def _shown(connection: psycopg.Connection, delivery: DemoDelivery, *, again: bool) -> Shown:
    from ingest_pipelines import ledger

    name, file = delivery.feed.name, Path(delivery.path).name
    loads = ledger.recent_loads(connection, name, 1_000)
    first = [load for load in loads if load.status == "committed" and item_name(load.item) == file][-1]
    examples = [
        reject
        for code in first.codes
        for reject in ledger.list_rejects(connection, name, load=first.id, code=code, limit=1)
    ]
    return Shown(delivery, first, examples, again)


def _print(shown: Sequence[Shown], home: Path) -> None:
    from ingest_pipelines.demo.generate import FIRST

    screen.say(screen.painted("A shop's customers: three feeds, delivered twice", "strong"))
    screen.say()
    widths = {name: max(len(name), 7) for name in COUNTS}
    screen.say(screen.painted(" " * 14 + "  ".join(name.rjust(size) for name, size in widths.items()), "dim"))
    for first in (True, False):
        screen.say("first delivery" if first else "second delivery, one night later")
        for load in (delivered.load for delivered in shown if (delivered.delivery.serial == FIRST) == first):
            counts = "  ".join(screen.number(getattr(load, name)).rjust(size) for name, size in widths.items())
            screen.say(f"  {load.import_name:<10}  {counts}")
    screen.say()
    _print_rejects(shown)
    screen.say()
    _print_verdict(shown)
    screen.say()
    screen.say(f"  the project is in {home}: edit it, break it, run it again")
    commands = [
        ("ingest status", "every import and its last load"),
        ("ingest rejects list customers", "every rejected row, its line, its reasons"),
        ("ingest up", "the same in the Dagster UI"),
    ]
    size = max(len(command) for command, _ in commands)
    for command, what in (*_to_the_path(), *commands):
        screen.say(f"  {command:<{size}}   {what}")


def _to_the_path() -> Iterator[tuple[str, str]]:
    """The command that puts `ingest` on the PATH, if it is not: make installs it into a virtual environment."""
    if shutil.which("ingest") is None:
        activate = Path(sys.prefix, "bin", "activate")
        near = activate.relative_to(Path.cwd()) if activate.is_relative_to(Path.cwd()) else activate
        yield f"source {screen.quoted(near)}", "now the shell finds `ingest`"


def _print_rejects(shown: Sequence[Shown]) -> None:
    """Prints rejected rows per rule over all loads, most frequent first, each with an example."""
    rows: dict[str, int] = {}
    examples: dict[str, str] = {}
    for delivered in shown:
        for code, count in delivered.load.codes.items():
            rows[code] = rows.get(code, 0) + count
        for reject in delivered.examples:
            text = (
                f"{delivered.load.import_name} {spelled_line(reject.line)}, {screen.why(reject.field, reject.reason)}"
            )
            examples.setdefault(reject.code, text)
    table = [
        (screen.number(count), code, examples.get(code, ""))
        for code, count in sorted(rows.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
    for line in screen.columns(("rows", "rejected for", "for example"), table, right=[0]):
        screen.say(line)


def _print_verdict(shown: Sequence[Shown]) -> None:
    """Prints whether the loads rejected exactly the rows that the generator planted."""
    planted = sum(sum(delivered.delivery.codes.values()) for delivered in shown)
    exact = all(
        delivered.load.counts == delivered.delivery.expected
        and dict(delivered.load.codes) == dict(delivered.delivery.codes)
        for delivered in shown
    )
    if exact:
        screen.say(f"{screen.painted('exact', 'good')}: all {planted} planted defects were found, and nothing else")
    else:
        screen.say(f"{screen.painted('not as planted', 'warn')}: the counts differ from what the generator expects")
    if all(delivered.again for delivered in shown):
        screen.say("nothing new: these deliveries were loaded before; nothing was changed")
