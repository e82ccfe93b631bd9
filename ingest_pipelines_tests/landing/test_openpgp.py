"""Encrypted files: decrypted as they arrive, whole and signed as asked for, or refused with the reason."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pysequoia as openpgp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest_pipelines.config.decryption import Keys
from ingest_pipelines.config.imports import Limits, SourceOfImport
from ingest_pipelines.errors import IngestError, ItemRefused, MissingDriver
from ingest_pipelines.landing import land_file
from ingest_pipelines.landing import openpgp as landing_openpgp
from ingest_pipelines.landing.openpgp import Decryption
from ingest_pipelines.model import Item, ItemKey, Landing, SourceFile
from ingest_pipelines.sources import open_upload
from ingest_pipelines.sources.base import Listing
from ingest_pipelines.sources.files import serial_of
from ingest_pipelines.sources.near_misses import near_misses
from ingest_pipelines_tests.processes import words_of
from ingest_pipelines_tests.waiting import until

CONTENT = b"id,tier\n1,Gold\n2,Silver\n"
PASSPHRASE = "the passphrase of the till"


@dataclass(frozen=True)
class Person:
    """A key pair."""

    secret: Any

    @property
    def public(self) -> Any:
        return self.secret.extract_certificate()

    @property
    def exported(self) -> bytes:
        return str(self.secret).encode()


@pytest.fixture(scope="module")
def shop() -> Person:
    return Person(openpgp.Tsk.generate("Shop <shop@example.com>"))


@pytest.fixture(scope="module")
def vendor() -> Person:
    return Person(openpgp.Tsk.generate("Vendor <vendor@example.com>"))


@pytest.fixture(scope="module")
def gpg(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """GnuPG's home with a key of its own, which a passphrase locks."""
    home = tmp_path_factory.mktemp("gnupg")
    home.chmod(0o700)
    words = ["--passphrase", PASSPHRASE, "--quick-gen-key", "till@example.com", "rsa2048", "sign,encrypt"]
    launch = ["gpgconf", "--homedir", str(home), "--launch", "gpg-agent"]  # gpg itself waits five seconds for it
    until(lambda: subprocess.run(launch, check=False, capture_output=True).returncode == 0)
    _gpg(home, *words)
    yield home
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False, capture_output=True)


def _gpg(home: Path, *words: object, data: bytes = b"") -> bytes:
    fixed = [
        "gpg",
        "--homedir",
        home,
        "--batch",
        "--yes",
        "--quiet",
        "--trust-model",
        "always",
        "--pinentry-mode",
        "loopback",
    ]
    return subprocess.run([str(word) for word in (*fixed, *words)], check=True, capture_output=True, input=data).stdout


def land(folder: Path, name: str, content: bytes, keys: Keys | None, limits: Limits | None = None) -> Landing:
    """The landing; nothing but it is left on disk, and no process."""
    path, spool = folder / name, Path(tempfile.mkdtemp(dir=folder))
    path.write_bytes(content)
    with open_upload(path) as source:
        item = Item("loyalty", ItemKey("k"), "upload", uri=source.uri(str(path)), path=str(path))
        left, others = 0, set(psutil.Process().children())
        try:
            landing = land_file(item, source, spool, limits or Limits(), None, keys)
            left = 1
            return landing
        finally:
            assert len(list(spool.iterdir())) == left
            assert set(psutil.Process().children()) - others == set()


def own(person: Person, signers: bytes | None = None) -> Keys:
    return Keys(person.exported, None, signers)


def _zip(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.csv", content)
    return out.getvalue()


def _gzip(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "C.csv.pgp": bytes, "C.csv.gz.gpg": _gzip, "C.csv.zip.asc": _zip, "C.csv": bytes,
}  # fmt: skip


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("armor", [True, False])
def test_a_file_is_landed_decrypted_and_unpacked(
    name: str, armor: bool, shop: Person, vendor: Person, tmp_path: Path
) -> None:
    message = openpgp.encrypt(PACKED[name](CONTENT), [shop.public], vendor.secret.signer(), armor=armor)
    landing = land(tmp_path, name, message, own(shop, bytes(vendor.public)))
    assert landing.path.read_bytes() == CONTENT
    assert (landing.bytes, landing.newlines) == (len(CONTENT), 3)
    assert land(tmp_path, name, message, own(shop)).content_sha256 == landing.content_sha256  # of what was delivered


@given(size=st.integers(0, 400_000), step=st.integers(1, 300_000), armor=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8)
def test_every_byte_arrives_in_order_however_the_message_is_cut_into_chunks(
    size: int, step: int, armor: bool, shop: Person
) -> None:
    content = os.urandom(size)
    message = openpgp.encrypt(content, [shop.public], armor=armor)
    with Decryption("file:///C.pgp", own(shop)) as decryption:
        pieces = [
            piece for start in range(0, len(message), step) for piece in decryption.feed(message[start : start + step])
        ]
        pieces += decryption.finish()
    assert b"".join(pieces) == content


def test_what_gnupg_encrypts_is_read_with_the_key_and_passphrase_that_it_exports(gpg: Path, tmp_path: Path) -> None:
    content = CONTENT * 20_000
    key = _gpg(gpg, "--passphrase", PASSPHRASE, "--armor", "--export-secret-keys", "till@example.com")
    public = _gpg(gpg, "--export", "till@example.com")
    encrypt = ["--passphrase", PASSPHRASE, "-r", "till@example.com", "--sign", "--encrypt"]
    message = _gpg(gpg, *encrypt, data=content)
    assert land(tmp_path, "C.csv.gpg", message, Keys(key, PASSPHRASE, None)).path.read_bytes() == content
    with pytest.raises(ItemRefused, match="compressed before it is encrypted, so a signature in it cannot be verified"):
        land(tmp_path, "C.csv.gpg", message, Keys(key, PASSPHRASE, public))
    for packed, name in (
        (gzip.compress(content, mtime=0), "C.csv.gz.gpg"), (content, "C.csv.gpg"),
    ):  # fmt: skip
        signed = _gpg(gpg, "--compress-algo", "none", *encrypt, data=packed)
        assert land(tmp_path, name, signed, Keys(key, PASSPHRASE, public)).path.read_bytes() == content
    for passphrase, why in ((None, "locked, and no passphrase"), ("wrong", "the passphrase does not open")):
        with pytest.raises(ItemRefused, match=why):
            land(tmp_path, "C.csv.gpg", message, Keys(key, passphrase, None))
    symmetric = _gpg(gpg, "--passphrase", PASSPHRASE, "--symmetric", data=CONTENT)
    assert land(tmp_path, "C.csv.gpg", symmetric, Keys(None, PASSPHRASE, None)).path.read_bytes() == CONTENT


def test_a_message_that_expands_too_far_is_given_up_while_it_is_decrypted(gpg: Path, tmp_path: Path) -> None:
    bomb = _gpg(gpg, "--passphrase", "x", "--symmetric", "-z", "9", data=bytes(20 << 20))
    assert len(bomb) < 1 << 20
    for limits in (Limits(max_expansion=20), Limits(max_bytes=2 << 20)):
        with pytest.raises(ItemRefused, match=r"more than 20 times|larger than"):
            land(tmp_path, "C.csv.gpg", bomb, Keys(None, "x", None), limits)


def test_a_message_cut_or_changed_at_any_place_is_never_landed(shop: Person, vendor: Person, tmp_path: Path) -> None:
    message = openpgp.encrypt(CONTENT * 3_000, [shop.public], vendor.secret.signer(), armor=False)
    keys = own(shop)
    cuts = [1, 2, 60, 200, len(message) // 2, len(message) - 20, len(message) - 1]
    for left in cuts:
        with pytest.raises(ItemRefused):
            land(tmp_path, "C.csv.pgp", message[:left], keys)
    for place in (len(message) // 3, len(message) - 5):
        changed = bytearray(message)
        changed[place] ^= 1
        with pytest.raises(ItemRefused, match="cut off, or changed on its way"):
            land(tmp_path, "C.csv.pgp", bytes(changed), keys)
    with pytest.raises(ItemRefused, match="cut off, or changed on its way"):
        land(tmp_path, "C.csv.pgp", message + message, keys)


REFUSED = {
    "another key": "the file is encrypted for another key",
    "another signature": "not signed by a key of source.decrypt.signed_by",
    "no signature": "not signed by a key of source.decrypt.signed_by",
    "signed only": "is no encrypted OpenPGP message",
    "signed only, armored": "is no encrypted OpenPGP message",
    "a plain file": "is no encrypted OpenPGP message",
    "an empty file": "is no encrypted OpenPGP message",
    "text in another alphabet": "is no encrypted OpenPGP message",
    "a public key": "private_key is no private key",
    "a key that is none": "private_key is no private key",
    "a signer that is none": "signed_by is no public key",
    "another passphrase": "the passphrase does not open the file",
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_refusal_says_why_and_shows_no_secret(what: str, shop: Person, vendor: Person, tmp_path: Path) -> None:
    message = openpgp.encrypt(CONTENT, [shop.public], vendor.secret.signer(), armor=False)
    contents = {
        "no signature": openpgp.encrypt(CONTENT, [shop.public]),
        "signed only": openpgp.sign(vendor.secret.signer(), CONTENT, armor=False),
        "signed only, armored": openpgp.sign(vendor.secret.signer(), CONTENT),
        "a plain file": CONTENT, "an empty file": b"", "text in another alphabet": "Имя,Тип\n".encode("cp1251") * 900,
        "another passphrase": openpgp.encrypt(CONTENT, passwords=["right"]),
    }  # fmt: skip
    keys = {
        "another key": own(vendor), "another signature": own(shop, bytes(shop.public)),
        "no signature": own(shop, bytes(vendor.public)),
        "a public key": Keys(str(shop.public).encode(), None, None), "a key that is none": Keys(b"junk", None, None),
        "a signer that is none": own(shop, b"junk"), "another passphrase": Keys(None, PASSPHRASE, None),
    }  # fmt: skip
    with pytest.raises(IngestError) as refused:
        land(tmp_path, "C.csv.pgp", contents.get(what, message), keys.get(what, own(shop)))
    said = str(refused.value)
    assert REFUSED[what] in said
    assert what != "another passphrase" or "private_key" not in said  # there is none
    assert not any(secret in said for secret in (PASSPHRASE, "BEGIN", "junk", "Gold", "Traceback", "sequoia"))


def test_the_keys_are_not_in_the_process_table(shop: Person) -> None:
    message = openpgp.encrypt(os.urandom(1 << 20), [shop.public], armor=False)
    with Decryption("file:///C.pgp", Keys(shop.exported, PASSPHRASE, None)) as decryption:
        list(decryption.feed(message[: 1 << 19]))
        [child] = [c for c in psutil.Process().children() if "openpgp_process" in words_of(c)]
        assert child.environ() == {}
        assert PASSPHRASE not in " ".join(child.cmdline())
    assert not child.is_running()


def test_without_a_key_an_encrypted_file_says_what_to_write(shop: Person, tmp_path: Path) -> None:
    with pytest.raises(
        ItemRefused, match="its name says that the file is encrypted, and the import has no key"
    ) as refused:
        land(tmp_path, "C.csv.pgp", openpgp.encrypt(CONTENT, [shop.public]), None)
    assert "decrypt: {private_key: {file: " in refused.value.hint
    listing = Listing((SourceFile("in/C.csv.pgp", 1, datetime(2026, 1, 1, tzinfo=UTC)),))
    assert "encrypted files need source.decrypt" in near_misses(listing, "in/C")


def test_without_the_library_the_line_that_installs_it_is_named(
    shop: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing_openpgp, "find_spec", lambda name: None)
    with pytest.raises(MissingDriver, match=r"pip install 'ingest-pipelines\[openpgp\]'"):
        land(tmp_path, "C.csv.pgp", openpgp.encrypt(CONTENT, [shop.public]), own(shop))


def test_the_names_of_encrypted_files_are_those_of_the_format_and_its_packing() -> None:
    source = {"connection": "c", "file": "in/C"}
    plain, encrypted = (
        SourceOfImport.model_validate(source | more) for more in ({}, {"decrypt": {"private_key": {"file": __file__}}})
    )
    names = ["C_7.csv.pgp", "C_7.csv.gz.gpg", "C_7.CSV.ZIP.asc"]
    assert [serial_of(f"in/{name}", "in/C", endings=encrypted.endings) for name in names] == [7] * 3
    assert [serial_of(f"in/{name}", "in/C", endings=plain.endings) for name in names] == [False] * 3
    assert serial_of("in/C_7.csv.gz", "in/C", endings=encrypted.endings) == 7  # it is refused, and not passed over


MISTAKES = {
    "{}": "give private_key",
    "{signed_by: {file: FILE}}": "give private_key",
    "{private_key: literal}": "a literal in a secret slot",
    "{private_key: {env: NOT_SET_ANYWHERE}}": "NOT_SET_ANYWHERE is not set",
    "{private_key: {file: /no/such/key}}": "/no/such/key does not exist",
    "{private_key: {file: FILE}, passphrase: 5}": "a literal in a secret slot",
    "{private_key: {file: FILE}, signed_by: vendor}": "a literal in a secret slot",
    "{private_key: {file: FILE}, key: x}": "key",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_in_decrypt_is_refused(line: str) -> None:
    import yaml
    from pydantic import ValidationError

    declared = yaml.safe_load(line.replace("FILE", __file__))
    with pytest.raises(ValidationError) as refused:
        SourceOfImport.model_validate({"connection": "c", "file": "in/C", "decrypt": declared})
    [error] = refused.value.errors()
    assert error["loc"][0] == "decrypt"
    assert MISTAKES[line] in f"{error['msg']} {error['loc']}"
