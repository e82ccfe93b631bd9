"""OpenPGP messages, decrypted as they arrive: nothing but the landed file is written to disk."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from ingest_pipelines.config.decryption import Keys
from ingest_pipelines.errors import IngestError, ItemRefused, MissingDriver, Unavailable
from ingest_pipelines.landing import openpgp_process as process

PIECE = 1 << 20
FEED = 64 << 10

_HEAD = 4 << 10
"""A message is told by so many first bytes."""

_ARMOR = b"-----BEGIN PGP "
_ENCRYPTED = frozenset({1, 3, 9, 10, 18, 20})
"""Tags of packets that an encrypted message begins with; RFC 9580, section 5."""

_AGAIN = "encrypt the file for the key of source.decrypt.private_key and upload it again"

_AGAIN_BY_WORD = (
    "correct the value that source.decrypt.passphrase names; or encrypt the file with that passphrase, by "
    "gpg --symmetric, and upload it again"
)
"""The same where no private key is declared."""

_ENDED: dict[int, tuple[str, str]] = {
    process.NO_KEY: (
        "source.decrypt.private_key is no private key in OpenPGP's form",
        "export it with: gpg --armor --export-secret-keys NAME",
    ),
    process.LOCKED: (
        "the private key is locked, and no passphrase is declared",
        "write in the import's source: decrypt: {private_key: ..., passphrase: {env: NAME}}",
    ),
    process.PASSPHRASE: (
        "the passphrase does not open the private key",
        "correct the value that source.decrypt.passphrase names",
    ),
    process.NO_SIGNER: (
        "source.decrypt.signed_by is no public key in OpenPGP's form",
        "export the sender's key with: gpg --armor --export NAME",
    ),
    process.WRONG_KEY: ("the file is encrypted for another key, or with another passphrase", _AGAIN),
    process.SIGNATURE: (
        "the file is not signed by a key of source.decrypt.signed_by",
        "nothing of it was loaded; ask the sender to sign it, or for the public key that did",
    ),
    process.COMPRESSED: (
        "the message is compressed before it is encrypted, so a signature in it cannot be verified",
        "nothing of it was loaded; ask the sender for: gzip FILE; gpg --compress-algo none --sign --encrypt FILE.gz",
    ),
    process.DAMAGED: ("the encrypted file was cut off, or changed on its way", "upload the whole file again"),
}


class Decryption:
    """A message that is decrypted as it arrives, by a process of its own.

    What it yields is not proven to be what was sent until `finish` returns.
    """

    def __init__(self, uri: str, keys: Keys) -> None:
        self._uri = uri
        self._keys = keys
        self._head = b""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        if find_spec("pysequoia") is None:
            raise MissingDriver(
                f"{self._uri}: to decrypt it, the package pysequoia is needed",
                hint="pip install 'ingest-pipelines[openpgp]'",
            )
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """What the process has decrypted of the message so far.

        Raises:
            ItemRefused: the bytes are no encrypted message.
        """
        if self._process is None:
            self._head += chunk
            if len(self._head) < _HEAD:
                return
            chunk = self._begin()
        yield from self._exchange(chunk)

    def finish(self) -> Iterator[bytes]:
        """The rest of the plaintext; the message was whole, unchanged and signed as asked for when this ends.

        Raises:
            ItemRefused: it was not, or the keys do not fit.
            Unavailable (retryable): the process was killed.
        """
        if self._process is None:
            yield from self._exchange(self._begin())
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        os.set_blocking(self._process.stdout.fileno(), True)
        while piece := os.read(self._process.stdout.fileno(), PIECE):
            yield piece
        code = self._process.wait()
        if code != 0:
            raise self._failure(code)

    def _begin(self) -> bytes:
        """Starts the process; the bytes to begin with."""
        head, self._head = self._head, b""
        _refuse_open_message(self._uri, head, self._keys)
        reading, writing = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(Path(process.__file__)), str(reading)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
                pass_fds=[reading], env={},
            )  # fmt: skip
        except OSError as error:
            os.close(writing)
            raise Unavailable(
                f"{self._uri}: no process to decrypt it could be started: {os.strerror(error.errno or 0)}",
                hint="nothing was loaded; run it again",
            ) from None
        finally:
            os.close(reading)
        keys = {
            name: value.decode("latin-1") if isinstance(value, bytes) else value
            for name, value in vars(self._keys).items()
        }
        with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "w", encoding="utf-8") as pipe:
            json.dump(keys, pipe)
        return head

    def _exchange(self, data: bytes) -> Iterator[bytes]:
        """Hands the data to the process, and yields what it has decrypted meanwhile: neither waits for the other."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        to, back = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(to, False)
        os.set_blocking(back, False)
        left = memoryview(data)
        with selectors.DefaultSelector() as selector:
            selector.register(to, selectors.EVENT_WRITE)
            selector.register(back, selectors.EVENT_READ)
            while left:
                ready = {key.fd for key, _ in selector.select()}
                if back in ready:
                    piece = os.read(back, PIECE)
                    if not piece:
                        return  # it has ended: `finish` says why
                    yield piece
                if to in ready:
                    try:
                        left = left[os.write(to, left[:FEED]) :]
                    except BrokenPipeError:
                        return
                    except BlockingIOError:
                        continue

    def _failure(self, code: int) -> IngestError:
        if code not in _ENDED:
            return Unavailable(
                f"{self._uri}: the process that decrypts it ended early, with code {code}",
                hint="nothing was loaded; is the machine short of memory? run it again",
            )
        message, hint = _ENDED[code]
        if code == process.WRONG_KEY and self._keys.private_key is None:
            message, hint = "the passphrase does not open the file", _AGAIN_BY_WORD
        return ItemRefused(f"{self._uri}: {message}", hint=hint)


def _refuse_open_message(uri: str, head: bytes, keys: Keys) -> None:
    """Raises ItemRefused unless a file that begins like this is an encrypted message."""
    if _tag(head) not in _ENCRYPTED:
        raise ItemRefused(
            f"{uri}: the file is no encrypted OpenPGP message, and source.decrypt says that files are encrypted",
            hint=_AGAIN if keys.private_key is not None else _AGAIN_BY_WORD,
        )


def _tag(head: bytes) -> int | None:
    """The type of the first packet; None: it is none."""
    if head.lstrip().startswith(_ARMOR):
        _, _, body = head.lstrip().replace(b"\r\n", b"\n").partition(b"\n\n")
        with contextlib.suppress(ValueError):
            head = base64.b64decode(body.lstrip()[:4], validate=True)
    if not head or not head[0] & 0x80:
        return None
    return head[0] & 0x3F if head[0] & 0x40 else (head[0] >> 2) & 0x0F
