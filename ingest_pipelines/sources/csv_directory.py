"""Uploads: CSV files in a local directory, or one file that a person names."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat as modes
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from ingest_pipelines.config.base import without_dots
from ingest_pipelines.config.connections.csv import CsvConnection
from ingest_pipelines.errors import (
    IngestError,
    ItemChanged,
    ItemGone,
    SourceDenied,
    SourceUnavailable,
    UsageError,
    printable,
)
from ingest_pipelines.model import SourceFile
from ingest_pipelines.sources.base import CHUNK, Listing, Step
from ingest_pipelines.sources.files import MAX_FOLDERS, address, archive_names, linked_folder, segments, visible


class CsvDirectory:
    """The files of a local directory. Symbolic links are not followed, so that no file outside is read."""

    def __init__(self, connection: CsvConnection) -> None:
        self._root = Path(connection.directory).absolute()

    def __enter__(self) -> Self:
        try:
            with os.scandir(self._root):
                return self
        except OSError as error:
            raise _explained(error, self._root, folder=True) from None

    def __exit__(self, *exception: object) -> None:
        return None

    def uri(self, path: str) -> str:
        """`file:///directory/path`."""
        return address("file", "", f"{self._root.as_posix()}/{path}")

    def listing(self, folder: str = "", *, nested: bool = True) -> Listing:
        """The visible files under `folder`; sub-folders that can't be read are an error, not an empty folder."""
        parts = segments(folder.strip("/")) if folder.strip("/") else ()
        if (link := self._first_link(parts)) is not None:
            raise linked_folder(self.uri(link))
        files: list[SourceFile] = []
        links: list[str] = []
        try:
            too_deep = self._walk(self._root.joinpath(*parts), parts, files, links, nested)
        except OSError as error:
            raise _explained(error, self._root.joinpath(*parts), folder=True) from None
        return Listing(tuple(sorted(files, key=lambda file: file.path)), too_deep, tuple(sorted(links)))

    def _first_link(self, parts: tuple[str, ...]) -> str | None:
        """The first of the folders that is a symbolic link; the root itself may be one."""
        paths = ("/".join(parts[:count]) for count in range(1, len(parts) + 1))
        return next((path for path in paths if self._root.joinpath(path).is_symlink()), None)

    def _walk(
        self, folder: Path, parts: tuple[str, ...], files: list[SourceFile], links: list[str], nested: bool
    ) -> int:
        too_deep = 0
        with os.scandir(folder) as children:
            entries = [entry for entry in children if visible(entry.name)]
        for entry in entries:
            below = (*parts, entry.name)
            with contextlib.suppress(FileNotFoundError):  # deleted since the folder was read
                if entry.is_symlink():
                    links.append("/".join(below))
                elif entry.is_dir(follow_symlinks=False):
                    too_deep += self._walk(Path(entry.path), below, files, links, nested) if nested else 0
                elif entry.is_file(follow_symlinks=False) and len(parts) > MAX_FOLDERS:
                    too_deep += 1
                elif entry.is_file(follow_symlinks=False):
                    files.append(_source_file("/".join(below), entry.stat(follow_symlinks=False)))
        return too_deep

    def stat(self, path: str, version: str = "") -> SourceFile:
        """The file as it is now."""
        local = self._local(path)
        try:
            attributes = local.lstat()
        except OSError as error:
            raise _explained(error, local) from None
        if not modes.S_ISREG(attributes.st_mode):
            raise ItemGone(f"{self.uri(path)} is not a regular file")
        return _source_file(path, attributes)

    def read(self, path: str, offset: int = 0, version: str = "") -> Iterator[bytes]:
        """The file's bytes from `offset`."""
        return _chunks(self._local(path), offset, os.O_NOFOLLOW)

    def _local(self, path: str) -> Path:
        parts = segments(path)
        if (link := self._first_link(parts[:-1])) is not None:
            raise ItemGone(f"{self.uri(link)} is a symbolic link", hint="symbolic links are not followed")
        return self._root.joinpath(*parts)

    def move(self, path: str, folder: str, expected: SourceFile | None = None) -> None:
        """Moves the file into `folder`. If its name is taken there, the file's time is put in front."""
        local, target = self._local(path), self._root.joinpath(*segments(folder.strip("/")))
        name = local.name
        try:
            _make_like_its_parent(target)
            if not local.exists() and (target / name).exists():
                return
            file = self.stat(path)
            if expected is not None and (file.size, file.modified_at) != (expected.size, expected.modified_at):
                raise ItemChanged(f"{self.uri(path)} was replaced after it was loaded; it stays where it is")
            for candidate in archive_names(file):
                if not (target / candidate).exists():
                    local.rename(target / candidate)
                    return
            raise ItemChanged(f"{self.uri(path)}: its name is taken in {printable(folder)}; it stays where it is")
        except OSError as error:
            raise _explained(error, local) from None

    def write(self, path: str, content: Path) -> None:
        """Copies the file under a hidden name, and renames it once it is whole."""
        local = self._local(path)
        draft = local.with_name(f".{local.name}.part")
        try:
            _make_like_its_parent(local.parent)
            shutil.copyfile(content, draft)
            draft.chmod(local.parent.stat().st_mode & 0o666)
            draft.replace(local)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise _unwritten(error, local) from None

    def probe(self) -> Iterator[Step]:
        """`folder`, then `listing`."""
        printable_root = printable(str(self._root))
        try:
            with self:
                yield Step("folder", True, printable_root)
        except IngestError as error:
            yield Step("folder", False, error.message, error.hint)
            return
        try:
            listing = self.listing()
        except IngestError as error:
            yield Step("listing", False, error.message, error.hint)
            return
        yield Step("listing", True, listing.counted())


class Upload:
    """One local file that a person names; its path is the whole path, wherever it is.

    Args:
        with_folder: the files beside it belong to it: it is one of several parts.
    """

    def __init__(self, path: Path, *, with_folder: bool = False) -> None:
        self._path = without_dots(path.absolute())
        self._with_folder = with_folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        return None

    def uri(self, path: str = "") -> str:
        """`file:///path`."""
        return address("file", "", self._at(path).as_posix())

    def listing(self, folder: str = "", *, nested: bool = True) -> Listing:
        """The file alone, or the files of its folder."""
        if not self._with_folder:
            return Listing((self.stat(),))
        try:
            with os.scandir(self._path.parent) as entries:
                names = sorted(entry.name for entry in entries if visible(entry.name) and entry.is_file())
        except OSError as error:
            raise _explained(error, self._path.parent, folder=True) from None
        files = []
        for name in names:
            with contextlib.suppress(ItemGone):  # deleted since the folder was read
                files.append(self.stat(str(self._path.with_name(name))))
        return Listing(tuple(files))

    def _at(self, path: str) -> Path:
        """The local path; a file elsewhere than in the upload's own folder is not the upload's."""
        if self._with_folder and path and Path(path).parent == self._path.parent:
            return Path(path)
        return self._path

    def stat(self, path: str = "", version: str = "") -> SourceFile:
        """The file as it is now."""
        local = self._at(path)
        if any("\ud800" <= letter <= "\udfff" for letter in str(self._path)):
            raise UsageError(
                f"the path {printable(str(self._path))} is not UTF-8, and the ledger could not name the file",
                hint="nothing was loaded; give it, or its folder, another name first: mv OLD NEW",
            )
        try:
            attributes = local.stat()
        except OSError as error:
            raise _explained(error, local) from None
        if not modes.S_ISREG(attributes.st_mode):
            raise ItemGone(f"{printable(str(local))} is not a regular file")
        return _source_file(str(local), attributes)

    def read(self, path: str = "", offset: int = 0, version: str = "") -> Iterator[bytes]:
        """The file's bytes from `offset`."""
        return _chunks(self._at(path), offset, 0)

    def move(self, path: str, folder: str, expected: SourceFile | None = None) -> None:
        """Nothing: a person's own file stays where it is."""

    def write(self, path: str, content: Path) -> None:
        """Nothing: a person who loads a file reads the verdict on the terminal."""

    def probe(self) -> Iterator[Step]:
        """`file`: whether it is there."""
        try:
            yield Step("file", True, f"{self.stat().size} bytes")
        except IngestError as error:
            yield Step("file", False, error.message, error.hint)


def _source_file(path: str, attributes: os.stat_result) -> SourceFile:
    seconds, nanoseconds = divmod(attributes.st_mtime_ns, 1_000_000_000)
    modified = datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanoseconds // 1000)
    # A copy that keeps the time, and a program that sets it back, change the inode or its time of change.
    identity = f"{attributes.st_dev}-{attributes.st_ino}-{attributes.st_ctime_ns}"
    return SourceFile(path, attributes.st_size, modified, identity=identity)


def _chunks(path: Path, offset: int, flags: int) -> Iterator[bytes]:
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags), "rb", buffering=0) as file:
            file.seek(offset)
            while chunk := file.read(CHUNK):
                yield chunk
    except OSError as error:
        raise _explained(error, path) from None


def _explained(error: OSError, path: Path, *, folder: bool = False) -> IngestError:
    where = printable(str(path))
    if isinstance(error, (FileNotFoundError, NotADirectoryError)) and folder:
        return SourceDenied(f"the folder {where} does not exist", hint="create it, or correct the configured path")
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return ItemGone(f"{where} does not exist")
    if isinstance(error, PermissionError):
        return SourceDenied(f"no permission to read {where}", hint=f"check its owner and mode: ls -ld '{where}'")
    if error.errno == errno.ELOOP:
        return ItemGone(f"{where} is a symbolic link", hint="symbolic links are not followed")
    if error.errno == errno.ENAMETOOLONG:
        return ItemGone(f"there is no file {where}: the name is too long")
    return SourceUnavailable(f"{where} cannot be read: {os.strerror(error.errno or 0)}")


def _unwritten(error: OSError, path: Path) -> IngestError:
    if isinstance(error, PermissionError) or error.errno == errno.EROFS:
        return SourceDenied(
            f"no permission to write {printable(str(path))}",
            hint=f"check the folder's owner and mode: ls -ld '{path.parent}'",
        )
    return SourceUnavailable(f"{printable(str(path))} cannot be written: {os.strerror(error.errno or 0)}")


def _make_like_its_parent(folder: Path) -> None:
    """Makes the folder with the permissions of its parent, whatever our own umask."""
    if not folder.exists():
        _make_like_its_parent(folder.parent)
        folder.mkdir(exist_ok=True)
        folder.chmod(folder.parent.stat().st_mode & 0o7777)
