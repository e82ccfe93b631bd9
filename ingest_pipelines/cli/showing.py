"""`ingest demo`: the packaged project laid out, delivered to twice, and reported on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.naming import Json
from ingest_pipelines.cli.reports import item_name, load_json
from ingest_pipelines.errors import ConfigError

if TYPE_CHECKING:
    from ingest_pipelines.cli.loading import Launcher
    from ingest_pipelines.demo.generate import Delivery
    from ingest_pipelines.ledger import Load, Reject

COUNTS = ("read", "inserted", "updated", "unchanged", "unmatched", "rejected")


@dataclass(frozen=True)
class Shown:
    """A delivery, its last load, and one reject for every rule that its rows broke.

    Attributes:
        again: this delivery was loaded by an earlier `ingest demo`; `load` is that load.
    """

    delivery: Delivery
    load: Load
    examples: Sequence[Reject]
    again: bool


def demo(json: Json = False) -> None:
    """Load the demo: a shop's customers, three feeds, two deliveries with planted defects, one report.

    Run again it delivers the same files, and nothing moves: re-running anything is safe.
    """
    from ingest_pipelines.config import read_project, read_settings

    settings = read_settings()
    settings = replace(settings, home=settings.demo)
    lay_out_demo(settings.home)
    project = read_project(settings.home)
    if project.mistakes:
        raise ConfigError(project.mistakes, hint=f"mend them in {settings.home}, or delete that folder and try again")
    from ingest_pipelines.cli.loading import launcher
    from ingest_pipelines.demo.generate import deliveries

    with screen.progress("the demo") as show:
        show("making 113,000 rows with known defects")
        made = list(deliveries())
        show("starting Postgres")
        with launcher(settings, project) as launch:
            shown = list(_deliver(launch, settings.home / "deliveries", made, show))
    if json:
        screen.as_json([load_json(each.load) for each in shown])
        return
    _print(shown, settings.home)


def lay_out_demo(home: Path) -> None:
    """The demo project is in `home`. Files that are there already belong to a person, and stay as they are."""
    from ingest_pipelines.config import demo_home

    for source in sorted(demo_home().rglob("*.yaml")):
        target = home / source.relative_to(demo_home())
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def _deliver(launch: Launcher, folder: Path, made: Sequence[Delivery], show: Any) -> Iterator[Shown]:
    """Every delivery in the order in which it arrives, loaded unless a newer one of its feed is loaded already."""
    from ingest_pipelines import ledger

    for delivery in made:
        name = delivery.feed.name
        with launch.site.target.session() as connection:
            newest = ledger.newest_committed(connection, name)
        again = newest is not None and (newest.serial or 0) >= delivery.serial
        delivery.write(folder)
        if newest is None or (newest.serial or 0) <= delivery.serial:
            show(f"{name}, {delivery.path}")
            outcome = launch(name, on_stage=lambda stage, what=f"{name}, {delivery.path}": show(f"{what}: {stage}"))
            if outcome.error is not None:
                raise outcome.error
        with launch.site.target.session() as connection:
            load = next(
                load
                for load in ledger.recent_loads(connection, name, 1_000)
                if item_name(load.item) == Path(delivery.path).name and load.status == "committed"
            )
            examples = [
                reject
                for code in load.codes
                for reject in ledger.list_rejects(connection, name, load=load.id, code=code, limit=1)
            ]
        yield Shown(delivery, load, examples, again)


def _print(shown: Sequence[Shown], home: Path) -> None:
    from ingest_pipelines.demo.generate import FIRST

    screen.say(screen.painted("A shop's customers: three feeds, delivered twice", "strong"))
    screen.say()
    widths = {name: max(len(name), 7) for name in COUNTS}
    screen.say(screen.painted(" " * 14 + "  ".join(name.rjust(size) for name, size in widths.items()), "dim"))
    for first in (True, False):
        screen.say("first delivery" if first else "second delivery, one night later")
        for each in (each for each in shown if (each.delivery.serial == FIRST) == first):
            counts = "  ".join(screen.number(getattr(each.load, name)).rjust(size) for name, size in widths.items())
            screen.say(f"  {each.load.import_name:<10}  {counts}")
    screen.say()
    _print_rejects(shown)
    screen.say()
    _print_verdict(shown)
    screen.say()
    screen.say(f"  the project is in {home}: edit it, break it, run it again")
    for command, what in (
        ("ingest status", "every import and its last load"),
        ("ingest rejects list customers", "every rejected row, its line, its reasons"),
        ("ingest up", "the same in the Dagster UI"),
    ):
        screen.say(f"  {command:<32}{what}")


def _print_rejects(shown: Sequence[Shown]) -> None:
    """Rejected rows per rule over all loads, most first, each with the line of one of them."""
    rows: dict[str, int] = {}
    examples: dict[str, str] = {}
    for each in shown:
        for code, count in each.load.codes.items():
            rows[code] = rows.get(code, 0) + count
        for reject in each.examples:
            text = f"{each.load.import_name} line {reject.line}, {reject.field}: {reject.reason}"
            examples.setdefault(reject.code, text)
    table = [
        (screen.number(count), code, examples.get(code, ""))
        for code, count in sorted(rows.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
    for line in screen.columns(("rows", "rejected for", "for example"), table, right=[0]):
        screen.say(line)


def _print_verdict(shown: Sequence[Shown]) -> None:
    """Whether the loads found what the generator planted."""
    planted = sum(sum(each.delivery.codes.values()) for each in shown)
    exact = all(
        each.load.counts == each.delivery.expected and dict(each.load.codes) == dict(each.delivery.codes)
        for each in shown
    )
    if exact:
        screen.say(f"{screen.painted('exact', 'good')}: all {planted} planted defects were found, and nothing else")
    else:
        screen.say(f"{screen.painted('not as planted', 'warn')}: the counts differ from what the generator expects")
    if all(each.again for each in shown):
        screen.say("nothing new: these deliveries were loaded before, so this run changed nothing")
