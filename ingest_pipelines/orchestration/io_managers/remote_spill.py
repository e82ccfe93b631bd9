"""Step outputs in a bucket, for steps, retries and re-executions on machines that share no folder.

    <bucket>/<prefix>/spool/<run id>/   landed bytes
    <bucket>/<prefix>/spill/<run id>/   accepted rows, rejects, and one handle per step output

Steps work on local files. After a step its files are uploaded, then its handle; before the next step, files that its
machine does not have are downloaded. The rows are deleted from the bucket after the load's commit. For files of failed
runs the bucket needs a lifecycle rule (docs/deploy.md).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dagster import InputContext, IOManager, OutputContext

from ingest_pipelines.config import Settings
from ingest_pipelines.model import Landing, Validated
from ingest_pipelines.orchestration.dagster_internals.expected_errors import ExpectedFailure, ExpectedRetry
from ingest_pipelines.orchestration.io_managers.step_outputs import HandleIOManager, packed, read_report, unpacked
from ingest_pipelines.orchestration.io_managers.target import TargetIOManager
from ingest_pipelines.orchestration.resources.connections import HANDLES, TARGET
from ingest_pipelines.orchestration.site import Site
from ingest_pipelines.owner_only import private_folder

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

Handle = TypeVar("Handle")

RETRIES = 3
PAUSE_SECONDS = 10.0

_REPORT = "report"


@dataclass(frozen=True)
class _Kept:
    """A handle in the bucket.

    Attributes:
        files: per file of the handle, relative to the state folder, its size and time in nanoseconds. A local file with
            the same two is the same file, and not one that a failed attempt left.
    """

    handle: object
    files: dict[Path, tuple[int, int]]


class RemoteSpill:
    """The bucket of INGEST_SPILL_URI: a copy of the state folder's spool and spill."""

    def __init__(self, uri: str, settings: Settings) -> None:
        self._uri = uri
        self._state = settings.state

    def keep(self, run_id: str, name: str, handle: object) -> None:
        """Uploads the handle's files, then the handle."""
        from pyarrow.fs import LocalFileSystem, copy_files

        bucket, root = self._open()
        kept: dict[Path, tuple[int, int]] = {}
        for path in _files_of(handle):
            below = path.relative_to(self._state)
            copy_files(str(path), f"{root}/{below}", source_filesystem=LocalFileSystem(), destination_filesystem=bucket)
            kept[below] = _stamp(path)
        moved = _moved(handle, lambda path: path.relative_to(self._state))
        with bucket.open_output_stream(_handle(root, run_id, name)) as stream:
            stream.write(packed(_Kept(moved, kept)))

    def take(self, run_id: str, name: str) -> Any:
        """The handle; its files are on this machine.

        Raises:
            FileNotFoundError: the bucket does not have it, no longer has it, or has one of another version.
        """
        bucket, root = self._open()
        with bucket.open_input_stream(_handle(root, run_id, name)) as stream:
            kept: _Kept = unpacked(stream.read())
        for below, stamp in kept.files.items():
            path = self._state / below
            if not path.exists() or _stamp(path) != stamp:
                _copy_down(bucket, f"{root}/{below}", path, stamp)
        return _moved(kept.handle, lambda below: self._state / below)

    def forget_rows(self, validated: Validated) -> None:
        """Deletes the item's bytes and rows from the bucket; handles stay."""
        bucket, root = self._open()
        for path in (*validated.landing.paths, *_files_of(validated)):
            try:
                bucket.delete_file(f"{root}/{path.relative_to(self._state)}")
            except FileNotFoundError:
                continue  # an earlier attempt of this step removed it

    def runs(self) -> list[str]:
        """Ids of the runs that have files in the bucket."""
        from pyarrow.fs import FileSelector, FileType

        bucket, root = self._open()
        found = {
            entry.base_name
            for folder in ("spool", "spill")
            for entry in bucket.get_file_info(FileSelector(f"{root}/{folder}", allow_not_found=True))
            if entry.type == FileType.Directory
        }
        return sorted(found)

    def forget_run(self, run_id: str) -> None:
        """Deletes everything of the run from the bucket."""
        from pyarrow.fs import FileType

        bucket, root = self._open()
        for folder in (f"{root}/spool/{run_id}", f"{root}/spill/{run_id}"):
            if bucket.get_file_info(folder).type != FileType.NotFound:
                bucket.delete_dir(folder)

    def _open(self) -> tuple[FileSystem, str]:
        from pyarrow.fs import FileSystem  # its S3 client loads slowly, and must not be in a process that forks

        bucket, root = FileSystem.from_uri(self._uri)
        return bucket, root.rstrip("/")


class RemoteHandleIOManager(HandleIOManager):
    """Step outputs in a bucket."""

    def __init__(self, spill: RemoteSpill) -> None:
        self._remote = spill

    def handle_output(self, context: OutputContext, obj: Landing | Validated) -> None:
        """Uploads the step's output."""
        with _as_dagster_errors():
            self._remote.keep(context.run_id, context.step_key, obj)

    def load_input(self, context: InputContext) -> Any:
        """The output of the upstream step, of this run or of the run that it re-executes."""
        upstream = context.upstream_output
        assert upstream is not None
        with _as_dagster_errors():
            return self._remote.take(upstream.run_id, upstream.step_key)


class RemoteTargetIOManager(TargetIOManager):
    """Merges, and uploads the report, so that the checks find it on any machine."""

    def __init__(self, site: Site, spill: RemoteSpill) -> None:
        super().__init__(site)
        self._remote = spill

    def handle_output(self, context: OutputContext, obj: Validated) -> None:
        """Merges the item. A retry after the merge only reports it: the ledger has the run's load."""
        super().handle_output(context, obj)
        report = read_report(self._site.settings.spill, context.run_id)
        with _as_dagster_errors():
            self._remote.keep(context.run_id, _REPORT, report)
            self._remote.forget_rows(obj)

    def forget(self, validated: Validated) -> None:
        """Deletes the rows of a dry run, here and in the bucket."""
        super().forget(validated)
        with _as_dagster_errors():
            self._remote.forget_rows(validated)

    def load_input(self, context: InputContext) -> Any:
        """The load's report."""
        upstream = context.upstream_output
        assert upstream is not None
        with _as_dagster_errors():
            return self._remote.take(upstream.run_id, _REPORT)


def io_managers(site: Site) -> dict[str, IOManager]:
    """The IO managers for step outputs and for the target, by name: with files on disk, or in a bucket."""
    uri = site.settings.remote_spill
    if uri is None:
        return {HANDLES: HandleIOManager(site.settings.spill), TARGET: TargetIOManager(site)}
    remote = RemoteSpill(uri, site.settings)
    return {HANDLES: RemoteHandleIOManager(remote), TARGET: RemoteTargetIOManager(site, remote)}


def _files_of(handle: object) -> tuple[Path, ...]:
    """The files that the next step needs; of a validated item the rows, and not the landed bytes."""
    if isinstance(handle, Landing):
        return handle.paths
    if isinstance(handle, Validated):
        return (*handle.accepted, *((handle.rejects,) if handle.rejects else ()))
    return ()


def _moved(handle: Handle, move: Callable[[Path], Path]) -> Handle:
    """The handle with every path moved."""
    if isinstance(handle, Landing):
        parts = tuple(_moved(part, move) for part in handle.parts)
        return replace(handle, path=move(handle.path), parts=parts)
    if isinstance(handle, Validated):
        return replace(
            handle,
            landing=_moved(handle.landing, move),
            accepted=tuple(map(move, handle.accepted)),
            rejects=move(handle.rejects) if handle.rejects else None,
        )
    return handle


def _copy_down(bucket: FileSystem, remote: str, path: Path, stamp: tuple[int, int]) -> None:
    """Downloads the file to `path`, whole or not at all; two steps on one machine may do so at once."""
    from pyarrow.fs import LocalFileSystem, copy_files

    private_folder(path.parent)
    opened, draft = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    os.close(opened)
    try:
        copy_files(remote, draft, source_filesystem=bucket, destination_filesystem=LocalFileSystem())
        os.utime(draft, ns=(stamp[1], stamp[1]))
        Path(draft).replace(path)
    finally:
        Path(draft).unlink(missing_ok=True)


def _stamp(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


def _handle(root: str, run_id: str, name: str) -> str:
    return f"{root}/spill/{run_id}/{name}.handle"


@contextmanager
def _as_dagster_errors() -> Iterator[None]:
    """Errors of the bucket, as Dagster expects them."""
    try:
        yield
    except FileNotFoundError:
        raise ExpectedFailure(
            "the output of an earlier step is no longer at INGEST_SPILL_URI, or has another version\n"
            "  re-execute all steps of the run",
        ) from None
    except OSError as error:
        words = os.strerror(error.errno) if error.errno else type(error).__name__  # never the server's own text
        raise ExpectedRetry(
            f"reading or writing at INGEST_SPILL_URI failed: {words}",
            max_retries=RETRIES,
            seconds_to_wait=PAUSE_SECONDS,
        ) from error
