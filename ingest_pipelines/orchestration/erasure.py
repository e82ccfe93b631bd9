"""People forgotten outside of the target: files of runs here and in a bucket; and the search that proves it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from dagster import DagsterInstance
from psycopg import sql

from ingest_pipelines import pipeline
from ingest_pipelines.errors import IngestError
from ingest_pipelines.merge.forgetting import is_address, is_distinctive
from ingest_pipelines.orchestration.instance import dagster_home
from ingest_pipelines.orchestration.io_managers.remote_spill import RemoteSpill
from ingest_pipelines.orchestration.runs.run_files import TO_FORGET, forget_people, runs_with_files
from ingest_pipelines.orchestration.runs.tags import IMPORT_TAG
from ingest_pipelines.orchestration.site import DAGSTER_DATABASE, Site, embedded_server
from ingest_pipelines.owner_only import SERVER_FOLDER, private_file, private_folder
from ingest_pipelines.pipeline.forgetting import Scope

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Looked:
    """A place where a person was looked for.

    Attributes:
        where: a table, a folder, a storage.
        found: what is there of the person, in words; "": nothing.
    """

    where: str
    found: str = ""


def forget_files(site: Site, instance: DagsterInstance, scope: Scope, *, plan: bool = False) -> tuple[int, int]:
    """Deletes the files of runs that may hold rows of the database; (of how many runs, how many are in progress)."""
    erased, running = forget_people(site.settings, instance, scope.others, plan=plan)
    if site.settings.remote_spill is not None:
        bucket = RemoteSpill(site.settings.remote_spill, site.settings)
        for run_id in _concerned(bucket.runs(), instance, scope.others):
            run = instance.get_run_by_id(run_id)
            if run is not None and not run.is_finished:
                running += 1
                if not plan:
                    private_file(private_folder(site.settings.spill / run_id) / TO_FORGET)
                continue
            erased += 1
            if not plan:
                bucket.forget_run(run_id)
    return erased, running


def _concerned(run_ids: Sequence[str], instance: DagsterInstance, others: Collection[str]) -> Iterator[str]:
    for run_id in run_ids:
        run = instance.get_run_by_id(run_id)
        if run is None or run.tags.get(IMPORT_TAG) not in others:
            yield run_id


def look_everywhere(site: Site, instance: DagsterInstance, scope: Scope, key: str) -> list[Looked]:
    """Every table, folder and storage that the product writes, and what there is of the person.

    Raises:
        UsageError: the key is none of its type.
        TargetUnavailable, TargetDenied.
    """
    looked = [
        Looked(table, f"{rows} {what}{'' if rows == 1 else 's'}" if rows else "")
        for what, table, rows in pipeline.look_for([key], scope, site.target)
    ]
    texts = [text for text in pipeline.spellings([key], scope) if is_distinctive(text)]
    if texts:
        with site.target.session() as connection:
            schema, table = scope.database.schema_and_table
            looked += search_tables(connection, texts, "target", [("ingest", "%"), (schema, f"{table}%")])
    looked += _look_in_dagster(site, texts)
    looked += _look_in_files(site, instance, scope, texts)
    return looked


def search_tables(
    connection: psycopg.Connection, texts: Sequence[str], server: str, names: Sequence[tuple[str, str]]
) -> list[Looked]:
    """Rows of every table of these schemas, whose names are like these, in which one of the texts is a word."""
    tables = connection.execute(
        """
        SELECT DISTINCT n.nspname, c.relname
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN unnest(%s::text[], %s::text[]) AS wanted (schema, name)
             ON n.nspname = wanted.schema AND c.relname LIKE wanted.name
        WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1, 2
        """,
        ([schema for schema, _ in names], [name for _, name in names]),
    ).fetchall()
    looked = []
    for schema, table in tables:
        query = sql.SQL("SELECT count(*) FROM {} t WHERE t::text ~ %s").format(sql.Identifier(schema, table))
        row = connection.execute(query, (_pattern(texts),)).fetchone()
        rows = int(row[0]) if row else 0
        looked.append(Looked(f"{server}: {schema}.{table}, every column", f"{rows} rows" if rows else ""))
    return looked


def _pattern(texts: Sequence[str]) -> str:
    """A regular expression of Postgres that finds one of the texts as a word, plain or as JSON writes it."""
    spelled = dict.fromkeys(word for text in texts for word in (text, json.dumps(text)[1:-1]))
    words = "|".join(re.sub(r"([^\w\s])", r"\\\1", word) for word in spelled)
    any_case = "(?i)" if any(map(is_address, texts)) else ""
    return f"{any_case}(^|[^[:alnum:]])({words})($|[^[:alnum:]])"


def _look_in_dagster(site: Site, texts: Sequence[str]) -> list[Looked]:
    where = "Dagster's storage"
    if not texts:
        return [Looked(f"{where}: not searched, the key is too short to be found by it")]
    url = site.settings.dagster_url or embedded_server(site.settings).ensure_database(DAGSTER_DATABASE)
    try:
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT current_schema()").fetchone()
            return search_tables(connection, texts, "Dagster", [(row[0] if row else "public", "%")])
    except psycopg.Error as error:
        raise IngestError(f"{where} cannot be searched ({type(error).__name__})", hint="is it running?") from None


def _look_in_files(site: Site, instance: DagsterInstance, scope: Scope, texts: Sequence[str]) -> list[Looked]:
    settings = site.settings
    looked = []
    for folder in (settings.spool, settings.spill):
        runs = [
            run_id
            for run_id in runs_with_files(settings, instance, scope.others)
            if any((folder / run_id).glob("*/*")) or (folder == settings.spool and any((folder / run_id).glob("*")))
        ]
        found = f"rows of {len(runs)} unfinished runs, which may hold the person: {', '.join(runs[:3])}" if runs else ""
        looked.append(Looked(f"{folder}", found))
    if settings.remote_spill is not None:
        held = list(_concerned(RemoteSpill(settings.remote_spill, settings).runs(), instance, scope.others))
        looked.append(Looked("the bucket of INGEST_SPILL_URI", f"files of {len(held)} runs" if held else ""))
    for folder in dict.fromkeys((settings.state, settings.shared or settings.state, dagster_home(settings))):
        if folder != settings.state and folder.is_relative_to(settings.state):
            continue
        hits = sorted(str(path.relative_to(folder)) for path in _files(folder) if _holds(path, texts))
        looked.append(Looked(f"{folder}, every file", f"{len(hits)} files: {', '.join(hits[:3])}" if hits else ""))
    return looked


def _files(folder: Path) -> Iterator[Path]:
    """The files of the folder, without the embedded server's, which have deleted rows until a vacuum."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and path.name != SERVER_FOLDER:
            yield from (below for below in path.rglob("*") if below.is_file())
        elif path.is_file():
            yield path


def _holds(path: Path, texts: Sequence[str]) -> bool:
    """Whether the file has one of the texts, plain or as JSON writes it; addresses in upper or lower case."""
    spelled = {word for text in texts for word in (text, json.dumps(text)[1:-1])}
    words = {word.encode() for word in spelled}
    addresses = {word.lower().encode() for word in spelled if is_address(word)}
    longest = max(map(len, words), default=0)
    if not longest:
        return False
    try:
        with path.open("rb") as file:
            tail = b""
            while block := file.read(_BLOCK):
                content = tail + block
                if any(word in content for word in words):
                    return True
                if addresses and any(word in content.lower() for word in addresses):
                    return True
                tail = content[-longest:]
    except OSError:  # a socket, or a file that is gone
        return False
    return False
