"""Files on an SFTP server whose host key is known."""

from __future__ import annotations

import contextlib
import errno
import io
import posixpath
import socket
import stat as modes
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TypeVar

import paramiko

from ingest_pipelines.config.connections.sftp import SftpConnection
from ingest_pipelines.errors import (
    IngestError,
    InternalError,
    ItemChanged,
    ItemGone,
    SourceDenied,
    SourceUnavailable,
    printable,
)
from ingest_pipelines.model import SourceFile
from ingest_pipelines.sources import sftp_protocol
from ingest_pipelines.sources.base import Listing, Step
from ingest_pipelines.sources.files import MAX_FOLDERS, address, archive_names, linked_folder, segments, visible
from ingest_pipelines.sources.network import BROKEN_HINT, at_step, is_timeout, raised_by_us, retried

T = TypeVar("T")

KEEP_ALIVE_SECONDS = 15.0
"""Seconds without traffic after which we send a message, so that servers and firewalls keep the connection open."""

_CLOCKS_DIFFER = 0.5
"""Seconds by which Paramiko's time-outs fire early: it has the same limit for parts of a step."""

MAX_NAME_BYTES = 255
"""Longest name in every common file system. SFTP has no error of its own for a longer one."""

_LOGIN_METHODS = {
    "none",
    "password",
    "publickey",
    "keyboard-interactive",
    "hostbased",
    "gssapi-with-mic",
    "gssapi-keyex",
}
"""SSH's names of authentication methods, which are told. A server may send others: those are its own words."""


class Sftp:
    """An SFTP connection. It connects on entry, and reconnects by itself after the connection was cut."""

    def __init__(
        self,
        connection: SftpConnection,
        pause: Callable[[float], None] = time.sleep,
        keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
    ) -> None:
        self._connection = connection
        self._pause = pause
        self._keep_alive_seconds = keep_alive_seconds
        self._place = f"{connection.host}:{connection.port}"
        self._socket: socket.socket | None = None
        self._transport: sftp_protocol.SftpTransport | None = None
        self._client: paramiko.SFTPClient | None = None

    def __enter__(self) -> Self:
        self._with_retries(self._open_client, "connect")
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def uri(self, path: str) -> str:
        """`sftp://host:port/root/path`."""
        return address("sftp", self._place, posixpath.normpath(posixpath.join("/", self._connection.root, path)))

    def listing(self, folder: str = "", *, nested: bool = True) -> Listing:
        """The visible files under `folder`. Links are not followed."""
        parts = segments(folder.strip("/")) if folder.strip("/") else ()

        def walk_all() -> Listing:
            if (link := self._first_link(parts, folder=True)) is not None:
                raise linked_folder(self.uri(link))
            files: list[SourceFile] = []
            links: list[str] = []
            too_deep = self._walk(parts, files, links, nested)
            return Listing(tuple(sorted(files, key=lambda file: file.path)), too_deep, tuple(sorted(links)))

        return self._with_retries(walk_all, "list")

    def _first_link(self, parts: tuple[str, ...], *, folder: bool) -> str | None:
        """The first of the folders that is a symbolic link; the root itself may be one."""
        for count in range(1, len(parts) + 1):
            path = "/".join(parts[:count])
            with self._translating_errors(path, folder=folder):
                attributes = self._open_client().lstat(self._remote(path))
            if modes.S_ISLNK(attributes.st_mode or 0):
                return path
        return None

    def _walk(self, parts: tuple[str, ...], files: list[SourceFile], links: list[str], nested: bool) -> int:
        """Adds the folder's files and links to the lists; returns how many files lie too deep."""
        too_deep = 0
        with self._translating_errors("/".join(parts), folder=True):
            entries = sftp_protocol.entries(self._open_client(), self._remote("/".join(parts)))
        for name, attributes in entries:
            mode = attributes.st_mode or 0
            if not visible(name):
                continue
            if modes.S_ISLNK(mode):
                links.append("/".join((*parts, name)))
            elif modes.S_ISDIR(mode):
                too_deep += self._walk((*parts, name), files, links, nested) if nested else 0
            elif modes.S_ISREG(mode) and len(parts) > MAX_FOLDERS:
                too_deep += 1
            elif modes.S_ISREG(mode):
                files.append(_source_file("/".join((*parts, name)), attributes))
        return too_deep

    def stat(self, path: str, version: str = "") -> SourceFile:
        """The file as it is now."""
        remote = self._remote(path, file=True)

        def lstat_file() -> paramiko.SFTPAttributes:
            if (link := self._first_link(segments(path)[:-1], folder=False)) is not None:
                raise ItemGone(f"{self.uri(link)} is a symbolic link", hint="symbolic links are not followed")
            with self._translating_errors(path):
                return self._open_client().lstat(remote)

        attributes = self._with_retries(lstat_file, "read")
        if not modes.S_ISREG(attributes.st_mode or 0):
            raise ItemGone(f"{self.uri(path)} is not a regular file", hint="links and folders are not read")
        return _source_file(path, attributes)

    def read(self, path: str, offset: int = 0, version: str = "") -> Iterator[bytes]:
        """The file's bytes from `offset`. Many requests are under way at a time, so latency costs little."""
        remote = self._remote(path, file=True)
        client = self._with_retries(self._open_client, "read")
        with at_step("read"), self._translating_errors(path):
            yield from sftp_protocol.read(client, remote, offset)

    def move(self, path: str, folder: str, expected: SourceFile | None = None) -> None:
        """Renames the file into `folder`. If its name is taken there, the file's time is put in front."""
        self._with_retries(lambda: self._move(path, folder, expected), "archive")

    def _move(self, path: str, folder: str, expected: SourceFile | None) -> None:
        remote, target = self._remote(path, file=True), self._remote("/".join(segments(folder.strip("/"))))
        name = posixpath.basename(remote)
        with self._translating_errors(path, right="write"):
            self._make_folder(target)
            if not self._exists(remote) and self._exists(posixpath.join(target, name)):
                return
        file = self.stat(path)
        if expected is not None and (file.size, file.modified_at) != (expected.size, expected.modified_at):
            raise ItemChanged(f"{self.uri(path)} was replaced after it was loaded; it stays where it is")
        with self._translating_errors(path, right="write"):
            for candidate in archive_names(file):
                if not self._exists(posixpath.join(target, candidate)):
                    self._open_client().rename(remote, posixpath.join(target, candidate))
                    return
        raise ItemChanged(f"{self.uri(path)}: its name is taken in {printable(folder)}; it stays where it is")

    def write(self, path: str, content: Path) -> None:
        """Uploads the file under a hidden name, and renames it once it is whole."""
        self._with_retries(lambda: self._write(path, content), "write")

    def _write(self, path: str, content: Path) -> None:
        remote = self._remote(path, file=True)
        folder, name = posixpath.split(remote)
        draft = posixpath.join(folder, f".{name}.part")
        with self._translating_errors(path, right="write"):
            self._make_folder(folder)
            client = self._open_client()
            client.put(str(content), draft)
            try:
                client.posix_rename(draft, remote)
            except OSError:  # a server without that extension renames to a name that is free only
                if self._exists(remote):
                    client.remove(remote)
                client.rename(draft, remote)

    def _make_folder(self, target: str) -> None:
        parts = target.split("/")
        for depth in range(1, len(parts) + 1):
            folder = "/".join(parts[:depth]) or "/"
            if not self._exists(folder):
                self._open_client().mkdir(folder)

    def _exists(self, remote: str) -> bool:
        try:
            self._open_client().lstat(remote)
        except FileNotFoundError:
            return False
        return True

    def probe(self) -> Iterator[Step]:
        """`resolve`, `connect`, `host key`, `login`, `folder`, `listing`."""
        steps: list[tuple[str, Callable[[], str]]] = [*self._connection_steps(), ("listing", self._list_root)]
        try:
            for name, take_step in steps:
                try:
                    detail = take_step()
                except IngestError as error:
                    yield Step(name, False, error.message, error.hint)
                    return
                yield Step(name, True, detail)
        finally:
            self._close()

    def _list_root(self) -> str:
        return self.listing().counted()

    def _remote(self, path: str, *, file: bool = False) -> str:
        parts = segments(path) if path or file else ()
        if any(len(part.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES for part in parts):
            raise ItemGone(f"there is no file '{printable(path)}': the name is too long")
        return posixpath.join(self._connection.root or ".", *parts)

    def _with_retries(self, work: Callable[[], T], step: str) -> T:
        """Does the work, and does it again on a new connection when one broke off, as often as `retries` says."""
        with at_step(step):
            return retried(work, self._connection.retries, self._pause)

    def _close(self) -> None:
        with contextlib.suppress(Exception):
            if self._transport is not None:
                self._transport.close()
        with contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.close()
        self._socket = self._transport = self._client = None

    def _open_client(self) -> paramiko.SFTPClient:
        """The client; connects first if there is no connection."""
        if self._client is None or self._transport is None or not self._transport.is_active():
            self._close()
            try:
                for name, take_step in self._connection_steps():
                    with at_step(name):
                        take_step()
            except BaseException:
                self._close()
                raise
        if self._client is None:
            raise InternalError("an SFTP connection without a client")
        return self._client

    def _connection_steps(self) -> list[tuple[str, Callable[[], str]]]:
        return [
            ("resolve", self._resolve),
            ("connect", self._connect_socket),
            ("host key", self._check_host_key),
            ("login", self._log_in),
            ("folder", self._open_folder),
        ]

    def _resolve(self) -> str:
        host, port = self._connection.host, self._connection.port
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise SourceUnavailable(
                f"the host name {printable(host)} can't be resolved",
                hint="check `host` in connections.yaml, and the DNS",
            ) from None
        return ", ".join(dict.fromkeys(str(address[4][0]) for address in addresses))

    def _connect_socket(self) -> str:
        try:
            self._socket = socket.create_connection(
                (self._connection.host, self._connection.port), self._connection.timeout_seconds
            )
        except OSError as error:
            hung = isinstance(error, TimeoutError)
            raise SourceUnavailable(
                f"{self._place} {'does not answer in time' if hung else 'refuses the connection'}",
                hint="is the server up, the port right and the firewall open?",
                hung=hung,
            ) from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._place

    def _check_host_key(self) -> str:
        known_keys = self._known_host_keys()
        if self._socket is None:
            raise InternalError("a host key without a connection")
        transport = sftp_protocol.transport_over(self._socket)
        self._transport = transport
        limit = self._connection.timeout_seconds
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = limit
        transport.channel_timeout = limit
        options = transport.get_security_options()
        algorithms = {name for key in known_keys for name in _key_algorithms(key.get_name())}
        options.key_types = tuple(name for name in options.key_types if name in algorithms) or options.key_types
        deadline = time.monotonic() + limit
        try:
            transport.start_client(timeout=limit)
            server_key = transport.get_remote_server_key()
        except paramiko.ssh_exception.IncompatiblePeer:
            kinds = ", ".join(sorted(algorithms))
            raise SourceDenied(
                f"{self._place} has no host key of the known kind ({kinds}), or no common cipher",
                hint=self._scan_hint,
            ) from None
        except Exception:  # any error of the transport's thread: there is no session, and no key was refused
            if time.monotonic() > deadline - _CLOCKS_DIFFER:
                raise self._silent("the key exchange") from None
            raise SourceUnavailable(
                f"{self._place} broke off the key exchange, or does not speak SSH", hint="is this the SFTP port?"
            ) from None
        fingerprint = f"{server_key.get_name()} {server_key.fingerprint}"
        if server_key not in known_keys:
            raise SourceDenied(
                f"the host key of {self._place} is not the known one; it is {fingerprint}",
                hint=f"ask the server's owner whether the key changed. {self._scan_hint}",
            )
        return fingerprint

    @property
    def _scan_hint(self) -> str:
        return f"the server's keys: ssh-keyscan -p {self._connection.port} {printable(self._connection.host)}"

    def _known_host_keys(self) -> list[paramiko.PKey]:
        host, port = self._connection.host, self._connection.port
        if self._connection.known_hosts is not None:
            path = Path(self._connection.known_hosts).expanduser()
            try:
                entries = paramiko.HostKeys(str(path)).lookup(host if port == 22 else f"[{host}]:{port}")
            except (OSError, UnicodeDecodeError):
                raise SourceDenied(f"known_hosts: {printable(str(path))} can't be read") from None
            keys = list(entries.values()) if entries else []
            if not keys:
                raise SourceDenied(f"{printable(str(path))} knows no key of {self._place}", hint=self._scan_hint)
            return keys
        words = (self._connection.host_key or "").split()
        start = next((index for index, word in enumerate(words) if word.startswith(("ssh-", "ecdsa-"))), 0)
        line = " ".join(["host", *words[start : start + 2]])
        try:
            entry = paramiko.hostkeys.HostKeyEntry.from_line(line)
        except (paramiko.SSHException, ValueError):
            entry = None
        if entry is None or entry.key is None:
            raise SourceDenied(
                "host_key in connections.yaml is not a public key such as 'ssh-ed25519 AAAA...'", hint=self._scan_hint
            )
        return [entry.key]

    def _log_in(self) -> str:

        transport, settings = self._transport, self._connection
        if transport is None:
            raise InternalError("a login without a transport")
        key = self._private_key() if settings.private_key is not None else None
        deadline = time.monotonic() + settings.timeout_seconds
        try:
            if key is not None:
                transport.auth_publickey(settings.username, key)
            elif settings.password is not None:
                transport.auth_password(settings.username, settings.password.reveal())
        except Exception as error:  # also AuthenticationException if the connection broke off or was silent
            if not transport.packetizer.login_refused:
                if time.monotonic() > deadline - _CLOCKS_DIFFER:
                    raise self._silent("the login") from None
                raise SourceUnavailable(f"{self._place} broke off during the login", hint=BROKEN_HINT) from None
            methods = [name for name in getattr(error, "allowed_types", None) or () if name in _LOGIN_METHODS]
            accepts = f"; the server takes {', '.join(methods)}" if methods else ""
            method = "private key" if settings.private_key is not None else "password"
            raise SourceDenied(
                f"{self._place} refuses the login of {printable(settings.username)} by {method}{accepts}",
                hint="check `username` and the secret in connections.yaml",
            ) from None
        transport.set_keepalive(self._keep_alive_seconds)
        return settings.username

    def _private_key(self) -> paramiko.PKey:
        secret, phrase = self._connection.private_key, self._connection.passphrase
        text = secret.reveal() if secret else ""
        passphrase = phrase.reveal() if phrase else None
        for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
            try:
                return kind.from_private_key(io.StringIO(text if text.endswith("\n") else text + "\n"), passphrase)
            except paramiko.PasswordRequiredException:
                raise SourceDenied(
                    "the private key is encrypted", hint="add `passphrase` in connections.yaml"
                ) from None
            # Each class fails in its own way on another's key; if all do, we raise below.
            except Exception:  # noqa: S112  # nosec B112
                continue
        raise SourceDenied(
            "the private key can't be read: not an Ed25519, ECDSA or RSA key, or the passphrase is wrong",
            hint="check it with: ssh-keygen -y -f KEYFILE",
        )

    def _open_folder(self) -> str:

        if self._transport is None:
            raise InternalError("a folder without a transport")
        deadline = time.monotonic() + self._connection.timeout_seconds
        try:
            client = sftp_protocol.session_over(self._transport, self._connection.timeout_seconds)
        except Exception as error:
            if is_timeout(error) or time.monotonic() > deadline - _CLOCKS_DIFFER:
                raise self._silent("the start of the SFTP session") from None
            if isinstance(error, SourceUnavailable) or not sftp_protocol.is_alive(self._transport, error):
                raise SourceUnavailable(
                    f"{self._place} broke off after the login, while the SFTP session began", hint=BROKEN_HINT
                ) from None
            raise SourceDenied(f"{self._place} allows the login, but not SFTP", hint="ask for SFTP access") from None
        self._client = client
        with self._translating_errors("", folder=True):
            attributes = client.stat(self._remote(""))
        if not modes.S_ISDIR(attributes.st_mode or 0):
            raise SourceDenied(f"{self.uri('')} is not a folder", hint="check `root` in connections.yaml")
        return self.uri("")

    def _silent(self, during: str) -> SourceUnavailable:
        return SourceUnavailable(
            f"{self._place} did not answer for {self._connection.timeout_seconds:g} seconds, during {during}",
            hint="raise timeout_seconds if the server is just slow",
            hung=True,
        )

    @contextlib.contextmanager
    def _translating_errors(self, path: str, *, folder: bool = False, right: str = "read") -> Iterator[None]:
        """Maps network and server errors to IngestError, and drops their text, which may hold secrets."""
        uri = self.uri(path)
        try:
            yield
        except FileNotFoundError:
            if folder:
                raise SourceDenied(f"the folder {uri} does not exist", hint="check `root` and `source.file`") from None
            raise ItemGone(f"{uri} does not exist") from None
        except PermissionError:
            raise SourceDenied(
                f"no permission for {uri}",
                hint=f"the server's owner must let {printable(self._connection.username)} {right} it",
            ) from None
        except TimeoutError:
            self._close()
            raise self._silent("a request") from None
        except IngestError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in {errno.ENAMETOOLONG, errno.ELOOP}:
                raise ItemGone(f"{uri} does not exist") from None
            self._close()
            of_the_connection = isinstance(error, paramiko.SSHException | EOFError | OSError)
            if not of_the_connection and raised_by_us(error):
                raise
            raise SourceUnavailable(
                f"{self._place} broke off the connection, or reports a failure on {uri}", hint=BROKEN_HINT
            ) from None


def _key_algorithms(kind: str) -> tuple[str, ...]:
    """The algorithms by which a server proves that it has a host key of that kind."""
    return ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa") if kind == "ssh-rsa" else (kind,)


def _source_file(path: str, attributes: paramiko.SFTPAttributes) -> SourceFile:
    return SourceFile(path, attributes.st_size or 0, datetime.fromtimestamp(attributes.st_mtime or 0, UTC))
