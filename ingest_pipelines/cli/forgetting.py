"""`ingest forget` and `ingest remember`: people erased and kept out, and let in again."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingest_pipelines.cli import screen
from ingest_pipelines.cli.asking import confirmed
from ingest_pipelines.cli.naming import Json
from ingest_pipelines.cli.steering import Yes
from ingest_pipelines.config.nearest import no_such_file
from ingest_pipelines.errors import IngestError, UsageError, printable
from ingest_pipelines.owner_only import open_private

if TYPE_CHECKING:
    from ingest_pipelines.config import Project, Settings
    from ingest_pipelines.orchestration.site import Site
    from ingest_pipelines.pipeline.forgetting import Forgotten, Scope

Name = Annotated[
    str, typer.Argument(metavar="NAME|DATABASE", help="A database; or an import, whose rows' match value KEY then is.")
]
Key = Annotated[str, typer.Argument(metavar="[KEY]", help="The person's key, in any spelling that a row may have.")]
Keys = Annotated[Path | None, typer.Option("--file", metavar="F", help="A text file with a key per line.")]


def forget(
    name: Name,
    key: Key = "",
    file: Keys = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would be erased.")] = False,
    proof: Annotated[bool, typer.Option("--proof", help="Erase nothing: look for the person everywhere.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Erase a person everywhere, and keep the person out of every later load. `--proof` shows that it is done.

    Profile, consents, events, rejected rows and files of runs are erased; the key is kept as a keyed hash only.
    """
    from ingest_pipelines import pipeline
    from ingest_pipelines.actions.launcher import user
    from ingest_pipelines.actions.target import now
    from ingest_pipelines.config import read_project, read_settings
    from ingest_pipelines.orchestration.erasure import forget_files

    if plan and proof:
        raise UsageError("--plan and --proof exclude each other", hint="use only one of them")
    keys = _keys("forget", name, key, file)
    settings = read_settings()
    project = read_project(settings.home)
    scope = _scope(project, name)
    if proof:
        _prove(settings, project, scope, keys, json=json)
        return
    what = screen.plural(len(keys), "person", "people")
    if not plan and not confirmed(f"erase {what} from database {scope.database_name} for good?", yes=yes):
        screen.note("nothing was changed")
        raise typer.Exit(1)
    with _dagster(settings, project) as (site, instance):
        forgotten = pipeline.forget(keys, scope, site.target, user(), now(), plan=plan)
        runs, running = forget_files(site, instance, scope, plan=plan)
        running += _forget_replays(settings.state / "replays", plan=plan)
    _print_forgotten(scope, forgotten, runs, running, plan=plan, json=json)


def remember(name: Name, key: Key = "", file: Keys = None, json: Json = False) -> None:
    """Let people in again who were forgotten. What was erased stays erased; the next delivery adds them."""
    from ingest_pipelines import pipeline
    from ingest_pipelines.actions.launcher import user
    from ingest_pipelines.actions.target import now, target_of
    from ingest_pipelines.config import read_project, read_settings

    keys = _keys("remember", name, key, file)
    settings = read_settings()
    scope = _scope(read_project(settings.home), name)
    people = pipeline.remember(keys, scope, target_of(settings, writes=True), user(), now())
    if json:
        screen.as_json({"database": scope.database_name, "keys": len(keys), "remembered": people})
    elif people:
        who = screen.plural(people, "person", "people")
        screen.say(f"{screen.painted('remembered', 'good')}: {who}; the next delivery adds them")
    else:
        screen.say(f"database {scope.database_name} keeps none of them out; nothing was changed")


def _keys(command: str, name: str, key: str, file: Path | None) -> list[str]:
    if (key != "") == (file is not None):
        raise UsageError("name one key, or a file with keys", hint=f"ingest {command} {name} KEY, or --file F")
    if file is None:
        return [key]
    try:
        keys = [line for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except FileNotFoundError:
        raise no_such_file(file) from None
    except UnicodeDecodeError:
        raise UsageError(f"{printable(str(file))} is not UTF-8", hint="nothing was changed; save it as UTF-8") from None
    if not keys:
        raise UsageError(f"{printable(str(file))} has no keys", hint="one key per line; nothing was changed")
    return keys


def _scope(project: Project, name: str) -> Scope:
    """The database of that name, or the one of the import of that name."""
    from ingest_pipelines.pipeline.forgetting import Scope

    by = None if name in project.databases else project.require(name)
    database_name = by.database_name if by is not None else name
    bound = {**project.partial, **project.imports}
    return Scope(
        database_name, project.databases[database_name],
        [each for each in bound.values() if each.database_name == database_name],
        [each.name for each in bound.values() if each.database_name != database_name], by,
    )  # fmt: skip


@contextmanager
def _dagster(settings: Settings, project: Project) -> Iterator[tuple[Site, Any]]:
    """The site and Dagster's instance, for the length of the block."""
    from ingest_pipelines.orchestration.instance import command_instance
    from ingest_pipelines.orchestration.site import Site

    site = Site(settings, project)
    _ = site.target  # fails first, with a message
    with command_instance(settings) as instance:
        yield site, instance


def _forget_replays(folder: Path, *, plan: bool) -> int:
    """Deletes what a killed replay has left; 1 if a replay is in progress, which deletes its file itself."""
    if plan or not folder.is_dir():
        return 0
    with open_private(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return 1
        for path in folder.iterdir():
            if path.name != ".lock":
                path.unlink(missing_ok=True)
    return 0


def _print_forgotten(scope: Scope, forgotten: Forgotten, runs: int, running: int, *, plan: bool, json: bool) -> None:
    if json:
        screen.as_json(
            {
                "database": scope.database_name, "people": forgotten.people, "profiles": forgotten.profiles,
                "already_forgotten": forgotten.already, "rows": dict(forgotten.rows), "runs": runs,
                "runs_in_progress": running, "plan": plan,
            }
        )  # fmt: skip
        return
    state = screen.painted("plan", "strong") if plan else screen.painted("forgotten", "good")
    screen.say(f"{state}: {screen.plural(forgotten.people, 'person', 'people')} of database {scope.database_name}")
    rows = {**forgotten.rows, **({"run with files": runs} if runs else {})}
    for what, count in rows.items():
        screen.say(f"  {screen.plural(count, what)} {'would be ' if plan else ''}erased")
    if not rows:
        screen.say("  there was nothing to erase" if not plan else "  there is nothing to erase")
    if running:
        screen.say(f"  {screen.plural(running, 'run')} in progress may hold rows: deleted once it has ended")
    if not plan:
        screen.say("  every later load leaves them out, and counts them as skipped")
        screen.say(f"  ingest forget {scope.database_name} KEY --proof    looks for a person everywhere")


def _prove(settings: Settings, project: Project, scope: Scope, keys: Sequence[str], *, json: bool) -> None:
    """Prints where each person was looked for.

    Raises:
        IngestError: somebody was found; exit code 1.
    """
    from ingest_pipelines.orchestration.erasure import look_everywhere

    with _dagster(settings, project) as (site, instance):
        looked = [look_everywhere(site, instance, scope, key) for key in keys]
    found = sum(any(place.found for place in places) for places in looked)
    if json:
        screen.as_json([[{"where": place.where, "found": place.found} for place in places] for places in looked])
    else:
        for number, places in enumerate(looked, 1):
            if len(looked) > 1:
                screen.say(screen.painted(f"key {number}", "strong"))
            for place in places:
                mark = screen.painted(place.found, "bad") if place.found else screen.painted("nothing", "good")
                screen.say(f"  {screen.wrapped(f'{place.where}: {mark}', 4)}")
    if found:
        raise IngestError(
            f"{found} of {screen.plural(len(keys), 'person', 'people')} found in database {scope.database_name}",
            hint=f"erase: ingest forget {scope.database_name} KEY; what it does not reach: docs/privacy.md",
        )
    if not json:
        screen.say(f"{screen.painted('nowhere', 'good')}: nothing of {screen.plural(len(keys), 'person', 'people')}")
