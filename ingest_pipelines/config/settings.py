"""Settings from environment variables. Only this module reads them, and `base` for secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import unquote, urlsplit

from ingest_pipelines.config.nearest import nearest
from ingest_pipelines.config.placement import ALONE, Placement, key_prefix_of
from ingest_pipelines.errors import ConfigError
from ingest_pipelines.owner_only import private_folder, write_private

ExecutorName = Literal["in_process", "multiprocess", "k8s", "celery"]
EXECUTORS: tuple[ExecutorName, ...] = get_args(ExecutorName)

ADDRESSES = ("INGEST_DATABASE_URL", "INGEST_DAGSTER_URL", "INGEST_CELERY_BROKER")
"""Variables that may hold a password. Instead of each, `<variable>_FILE` may name a file with the value."""


@dataclass(frozen=True)
class Settings:
    """Folders, addresses and switches of this installation.

    Attributes:
        home: INGEST_HOME: the project of connections, databases and imports. Default: the working directory where
            it is a project; else the demo that `ingest demo` made in the state folder; else the packaged demo.
        state: INGEST_STATE: embedded Postgres, spool, spill, Dagster's local files. Default: `.ingest` beside the
            project that INGEST_HOME names; else in the working directory.
        database_url: INGEST_DATABASE_URL, or the text of the file that INGEST_DATABASE_URL_FILE names: the target
            Postgres. None: the embedded one, or the one that `database_variable` names.
        database_variable: the environment variable with the URL of the target Postgres, which is read when a run, a
            tick or a command needs it, and not before. None: `database_url` says it.
        dagster_url: INGEST_DAGSTER_URL or INGEST_DAGSTER_URL_FILE: Dagster's storage. None: a database of the embedded
            server.
        shared: INGEST_SPILL_URI=file:///a/folder that every worker mounts at that path: spool and spill are in it.
            None: they are in the state folder.
        remote_spill: INGEST_SPILL_URI=s3://bucket/prefix or gs://bucket/prefix: what a step made is copied there, for
            steps on other machines. None: one machine, or a shared folder.
        executor: INGEST_EXECUTOR: how a run executes its steps. None: as the code location's other runs do.
        celery_broker: INGEST_CELERY_BROKER or INGEST_CELERY_BROKER_FILE: the broker that Celery's workers listen to.
        automation: INGEST_AUTOMATION=off starts sensors and schedules switched off.
        lock_timeout_seconds: INGEST_LOCK_TIMEOUT: how long a merge waits for its target table. Default 60.
        dagster_home: DAGSTER_HOME: the folder of Dagster's own settings. None: `dagster` in the state folder.
        ui_url: INGEST_UI_URL: where people find the Dagster UI; alerts link to it.
        environment: INGEST_ENVIRONMENT: the name of this installation, such as prod; alerts begin with it. "": none.
        validating: `dagster definitions validate` is reading the definitions.
        placement: where the project's definitions are in Dagster; INGEST_KEY_PREFIX gives the prefix of asset keys.
    """

    home: Path
    state: Path
    database_url: str | None
    dagster_url: str | None
    automation: bool = True
    lock_timeout_seconds: float = 60.0
    dagster_home: Path | None = None
    validating: bool = False
    shared: Path | None = None
    remote_spill: str | None = None
    executor: ExecutorName | None = "in_process"
    celery_broker: str | None = field(default=None, repr=False)
    ui_url: str = "http://127.0.0.1:3000"
    environment: str = ""
    placement: Placement = ALONE
    database_variable: str | None = None

    @property
    def spool(self) -> Path:
        """The folder of landed items."""
        return (self.shared or self.state) / "spool"

    @property
    def spill(self) -> Path:
        """The folder of validated rows that wait for the merge."""
        return (self.shared or self.state) / "spill"

    @property
    def demo(self) -> Path:
        """The demo project as `ingest demo` lays it out: a copy that may be edited."""
        return self.state / "demo"


def demo_home() -> Path:
    """The packaged demo project."""
    return Path(__file__).resolve().parent.parent / "demo" / "project"


def read_settings() -> Settings:
    """Settings from the environment; paths absolute.

    Raises:
        ConfigError: a variable holds something it cannot, INGEST_HOME names no project, or the project's data lie in
            the working directory.
    """
    settings = _read(_executor(os.environ.get("INGEST_EXECUTOR") or "in_process"))
    return replace(settings, database_url=_secret("INGEST_DATABASE_URL"))


def read_location_settings(
    project: Path | None = None,
    *,
    key_prefix: str | Sequence[str] | None = None,
    group: str | None = None,
    state: Path | None = None,
    spill: str | None = None,
    database_url: str | None = None,
    database_variable: str | None = None,
    executor: ExecutorName | None = None,
) -> Settings:
    """Settings of a project in a Dagster code location: what is None comes from the environment, except the executor.

    Raises:
        ConfigError: an argument or a variable holds something it cannot.
    """
    if project is not None:
        _require_project(project, "project")
    if state is not None and state.exists() and not state.is_dir():
        raise ConfigError([f"state: {state} is no folder"], hint="name a folder; it is made when it is needed")
    if executor is not None:
        executor = _executor(executor, "executor")
    _check_target_url(database_url, database_variable)
    settings = _read(executor, project, state, spill, key_prefix)
    if database_url is None and database_variable is None:
        database_url = _secret("INGEST_DATABASE_URL")
    placement = replace(settings.placement, group=group)
    return replace(settings, placement=placement, database_url=database_url, database_variable=database_variable)


def _require_project(folder: Path, key: str) -> None:
    """Passes if the folder has any of a project's files; that another is missing is a mistake of its own.

    Raises:
        ConfigError: it has none, or there is no such folder; the message begins with the key that names it.
    """
    if not any((folder / name).exists() for name in ("connections.yaml", "databases.yaml", "imports")):
        raise ConfigError(
            [f"{key}: {folder.resolve()}: there is no {'project in it' if folder.is_dir() else 'such folder'}"],
            hint="name the folder of connections.yaml, databases.yaml and imports/, or make one: ingest init DIR",
        )


def _check_target_url(url: object, variable: str | None) -> None:
    """The argument of the door, which may be anything; its value holds a password, and is not told.

    Raises:
        ConfigError: it is no URL of a Postgres, or names no variable.
    """
    hint = "give it as EnvVar('WAREHOUSE_URL'), or write postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    if variable == "":
        raise ConfigError(["target_url: the EnvVar has no name"], hint=hint)
    if url is not None and not (isinstance(url, str) and url.startswith(("postgresql:", "postgres:"))):
        raise ConfigError(["target_url: not the URL of a Postgres"], hint=hint)


def read_database_url(settings: Settings) -> str | None:
    """The URL of the target Postgres; None: the embedded one.

    Raises:
        ConfigError: the variable that holds it is not set in this process.
    """
    variable = settings.database_variable
    if variable is None:
        return settings.database_url
    url = _secret(variable)
    if url is None:
        raise ConfigError(
            [f"{variable}: this variable is to hold the URL of the target Postgres, and is not set"],
            hint=f"set {variable} or {variable}_FILE where the code server and the runs execute",
        )
    return url


def _read(
    executor: ExecutorName | None,
    project: Path | None = None,
    state: Path | None = None,
    spill: str | None = None,
    key_prefix: str | Sequence[str] | None = None,
) -> Settings:
    """Settings without a target."""
    if key_prefix is None:
        key_prefix = os.environ.get("INGEST_KEY_PREFIX") or ""
    placement = Placement(key_prefix_of(key_prefix))
    state = state.resolve() if state is not None else _state(project, placement)
    dagster_home = os.environ.get("DAGSTER_HOME")
    shared, remote_spill = (
        _spill(os.environ.get("INGEST_SPILL_URI") or "", "INGEST_SPILL_URI")
        if spill is None
        else _spill(spill, "spill")
    )
    celery_broker = _secret("INGEST_CELERY_BROKER")
    if executor in {"celery", "k8s"} and shared is None and remote_spill is None:
        raise ConfigError(
            [f"executor {executor}: steps run on several machines, and neither spill nor INGEST_SPILL_URI names a "
             "place for what they hand to each other"],
            hint=_SPILL_HINT,
        )  # fmt: skip
    if executor == "celery" and celery_broker is None:
        raise ConfigError(
            ["executor celery: INGEST_CELERY_BROKER names no broker"],
            hint="for example: INGEST_CELERY_BROKER=redis://redis:6379/0, or INGEST_CELERY_BROKER_FILE with that in it",
        )
    return Settings(
        home=project.resolve() if project is not None else _home(state),
        state=state,
        database_url=None,
        dagster_url=_storage_url(),
        automation=os.environ.get("INGEST_AUTOMATION", "on").lower() not in {"off", "0", "false"},
        lock_timeout_seconds=_seconds("INGEST_LOCK_TIMEOUT", 60.0),
        dagster_home=Path(dagster_home).resolve() if dagster_home else None,
        validating=os.environ.get("DAGSTER_IS_DEFS_VALIDATION_CLI") == "1",
        ui_url=(os.environ.get("INGEST_UI_URL") or "http://127.0.0.1:3000").rstrip("/"),
        shared=shared,
        remote_spill=remote_spill,
        executor=executor,
        celery_broker=celery_broker,
        environment=_environment(os.environ.get("INGEST_ENVIRONMENT") or ""),
        placement=placement,
    )


def read_ui_hosts() -> frozenset[str]:
    """Names that the Dagster UI goes by, beside this machine's own: of INGEST_UI_URL, and those in INGEST_UI_HOSTS.

    Raises:
        ConfigError: INGEST_UI_URL is no address.
    """
    url = os.environ.get("INGEST_UI_URL") or ""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if url and not host:
        raise ConfigError(["INGEST_UI_URL: no address"], hint="for example: INGEST_UI_URL=https://ingest.example.com")
    names = {name.strip().lower() for name in (os.environ.get("INGEST_UI_HOSTS") or "").split(",")} - {""}
    return frozenset(names | ({f"[{host}]" if ":" in host else host} if host else set()))


@dataclass(frozen=True)
class StudioAccess:
    """Who may reach the studio.

    Attributes:
        proxy_secret: INGEST_STUDIO_PROXY_SECRET, or the text of the file that INGEST_STUDIO_PROXY_SECRET_FILE names.
            The proxy sends it with each request, and its headers then name the person. None: this machine only.
    """

    proxy_secret: str | None = field(default=None, repr=False)


def read_studio_access() -> StudioAccess:
    """Who may reach the studio.

    Raises:
        ConfigError: the secret is too short, or its file cannot be read.
    """
    secret = _secret("INGEST_STUDIO_PROXY_SECRET")
    if secret is not None and len(secret) < 24:
        hint = "make one: openssl rand -hex 32"
        raise ConfigError(["INGEST_STUDIO_PROXY_SECRET: expected at least 24 characters"], hint=hint)
    return StudioAccess(secret)


def colours_wanted() -> bool:
    """Whether output may have colours: not if NO_COLOR is set (no-color.org), nor on a dumb terminal."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") != "dumb"


@contextmanager
def secrets_in_files(folder: Path) -> Iterator[None]:
    """Keeps addresses with passwords out of the environment of processes that are started within the block.

    Each is in a file of the folder that only this account reads, and `<variable>_FILE` names it, until the block ends.
    """
    addresses = {variable: value for variable in ADDRESSES if (value := os.environ.get(variable))}
    files = {variable: folder / variable.lower() for variable in addresses}
    if addresses:
        private_folder(folder)
    try:
        for variable, value in addresses.items():
            write_private(files[variable], os.fsencode(value))
            del os.environ[variable]
            os.environ[f"{variable}_FILE"] = str(files[variable])
        yield
    finally:
        for variable, value in addresses.items():
            os.environ[variable] = value
            os.environ.pop(f"{variable}_FILE", None)
            files[variable].unlink(missing_ok=True)


def own_environment() -> dict[str, str]:
    """The environment of this process, for another one that does the same in its place. It may hold secrets."""
    return dict(os.environ)


def take_environment(environment: Mapping[str, str]) -> None:
    """From now on, this process has that environment and no other variable."""
    os.environ.clear()
    os.environ.update(environment)


CODE_SERVER_THREADS = "40"
"""Threads of the process that evaluates ticks. Dagster's default is the number of CPUs and four; there are 16 sensors
and 4 schedules at a time, and the pages of the UI, and some of them may wait for a source."""


def child_environment(settings: Settings, dagster_home: Path, ui_url: str) -> dict[str, str]:
    """The environment for child processes: ours, with every folder as an absolute path.

    Args:
        ui_url: where this process serves the Dagster UI; people find it at INGEST_UI_URL, where that is set.
    """
    return {
        **os.environ,
        "INGEST_HOME": str(settings.home),
        "INGEST_STATE": str(settings.state),
        "DAGSTER_HOME": str(dagster_home),
        "DAGSTER_GRPC_MAX_WORKERS": os.environ.get("DAGSTER_GRPC_MAX_WORKERS") or CODE_SERVER_THREADS,
        "INGEST_UI_URL": os.environ.get("INGEST_UI_URL") or ui_url,
    }


def _state(project: Path | None, placement: Placement) -> Path:
    """The state folder of the project: beside the project, whatever the working directory.

    In INGEST_STATE each key prefix has a folder of its own, for several projects in one process.

    Raises:
        ConfigError: an earlier version made a Postgres in `.ingest` of the working directory, and there is none beside
            the project: a second, empty one would load everything again.
    """
    given, here = os.environ.get("INGEST_STATE"), Path(".ingest").resolve()
    home = os.environ.get("INGEST_HOME") if project is None else project
    if given:
        return Path(given, *placement.key_prefix).resolve()
    if not home:
        return here
    project = Path(home).resolve()
    if project == demo_home():
        return here  # the package may be in a folder without write permission
    state = project.parent if (project.parent.name, project.name) == (".ingest", "demo") else project / ".ingest"
    cluster = Path("postgres", "data")
    own_project = Path("connections.yaml").is_file()
    if state != here and not own_project and (here / cluster).exists() and not (state / cluster).exists():
        raise ConfigError(
            [f"the data of {project} lie in {here}, where an earlier version made them; their place is {state}"],
            hint=f"nothing ran; move them: mv '{here}' '{state}', or keep them there: export INGEST_STATE='{here}'",
        )
    return state


def _home(state: Path) -> Path:
    given = os.environ.get("INGEST_HOME")
    if given:
        _require_project(Path(given), "INGEST_HOME")
        return Path(given).resolve()
    for home in (Path.cwd(), state / "demo"):
        if any((home / name).is_file() for name in ("connections.yaml", "databases.yaml")):
            return home.resolve()
    return demo_home()


def _seconds(variable: str, default: float) -> float:
    text = os.environ.get(variable) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86_400:
        raise ConfigError([f"{variable}: expected a number of seconds above 0"], hint=f"for example: {variable}=60")
    return seconds


def _storage_url() -> str | None:
    """The URL of Dagster's storage, which is never told: it holds a password.

    Raises:
        ConfigError: it is no URL of a Postgres.
    """
    url = _secret("INGEST_DAGSTER_URL")
    if url is not None and not url.startswith(("postgresql:", "postgres:", "postgresql+psycopg2:")):
        raise ConfigError(
            ["INGEST_DAGSTER_URL: not the URL of a Postgres"],
            hint="write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or unset it",
        )
    return url


def _secret(variable: str) -> str | None:
    """The variable, else what is in the file that `<variable>_FILE` names: containers get their secrets as files."""
    value, path = os.environ.get(variable), os.environ.get(f"{variable}_FILE")
    if value and path:
        raise ConfigError([f"{variable} and {variable}_FILE are both set"], hint=f"keep one: unset {variable}")
    if not path:
        return value or None
    try:
        return Path(path).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            [f"{variable}_FILE: {path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}"],
            hint="may the account that runs this read it?",
        ) from None


def _environment(name: str) -> str:
    if name and re.fullmatch(r"[\w. -]{1,40}", name) is None:
        raise ConfigError(
            ["INGEST_ENVIRONMENT: expected up to 40 letters, digits, blanks and . _ -"],
            hint="for example: INGEST_ENVIRONMENT=prod",
        )
    return name.strip()


def _executor(name: object, key: str = "INGEST_EXECUTOR") -> ExecutorName:
    for known in EXECUTORS:
        if name == known:
            return known
    if not isinstance(name, str):
        hint = "an executor of your own goes into your own Definitions"
        raise ConfigError([f"{key}: expected one of {', '.join(EXECUTORS)}"], hint=hint)
    raise ConfigError([f"{key}: there is no executor '{name}'"], hint=nearest(name, EXECUTORS))


_SPILL_HINT = (
    "a folder that every worker mounts at the same path, file:///shared/ingest, or a bucket, s3://bucket/prefix or "
    "gs://bucket/prefix"
)


def _spill(uri: str, key: str) -> tuple[Path | None, str | None]:
    """The shared folder, or the bucket with its prefix; `key` is where it is written, for the message."""
    if not uri:
        return None, None
    parts = urlsplit(uri)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return Path(unquote(parts.path)), None
    if parts.username or parts.password:
        raise ConfigError(
            [f"{key}: credentials do not belong into it"],
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or GOOGLE_APPLICATION_CREDENTIALS",
        )
    if parts.scheme in {"s3", "gs"} and parts.netloc:
        return None, uri
    raise ConfigError([f"{key}: {uri} is neither a folder nor a bucket"], hint=_SPILL_HINT)
