"""The login of Oracle 12c: both sides prove that they know the password, and neither sends it."""

from __future__ import annotations

import hashlib
import secrets

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ingest_pipelines_tests.servers.tns.wire import Reader, Wire, error, pairs, sized, status

FUNCTION, BEGIN, PROVE = 3, 118, 115
VERIFIER_12C = "18453"
ROUNDS, SHORT_ROUNDS = 4096, 3
VERSION = (12 << 24) | (1 << 20) | (0 << 12) | (2 << 8)


def greet(wire: Wire) -> None:
    """Protocol and data types are agreed upon: the answers are constants, and the questions do not matter."""
    wire.receive()
    compile_time, run_time = bytearray(46), bytearray(11)
    compile_time[7] = 7  # TTC field version 12.1
    run_time[0], run_time[6] = 2, 4
    features = bytes(9) + (2000).to_bytes(2, "big")  # the national character set is AL16UTF16
    wire.send(
        b"\x01\x06\x00" + b"x86_64/Linux 2.4.xx\0" + (873).to_bytes(2, "little") + b"\x01\0\0"
        + len(features).to_bytes(2, "big") + features + sized(bytes(compile_time)) + sized(bytes(run_time))
    )  # fmt: skip
    wire.receive()
    wire.send(b"\x02\0\0")


def log_in(wire: Wire, users: dict[str, str], service: str) -> str | None:
    """The user's name, in capitals, once the password is proven; None after ORA-01017."""
    user, _ = _step(wire, BEGIN)
    known = users.get(user, secrets.token_hex(8)).encode()
    salt, session_salt, ours = (secrets.token_bytes(count) for count in (16, 16, 32))
    stretched = hashlib.pbkdf2_hmac("sha512", known, salt + b"AUTH_PBKDF2_SPEEDY_KEY", ROUNDS, 64)
    verifier = hashlib.sha512(stretched + salt).digest()[:32]
    challenge = {
        "AUTH_SESSKEY": (_encrypt(verifier, ours).hex().upper(), 0),
        "AUTH_VFR_DATA": (salt.hex().upper(), int(VERIFIER_12C)),
        "AUTH_PBKDF2_CSK_SALT": (session_salt.hex().upper(), 0),
        "AUTH_PBKDF2_VGEN_COUNT": (str(ROUNDS), 0),
        "AUTH_PBKDF2_SDER_COUNT": (str(SHORT_ROUNDS), 0),
    }
    wire.send(pairs(challenge) + status())
    user, proof = _step(wire, PROVE)
    theirs = _decrypt(verifier, bytes.fromhex(proof["AUTH_SESSKEY"].decode()))[:32]
    both = (theirs + ours).hex().upper().encode()
    session_key = hashlib.pbkdf2_hmac("sha512", both, session_salt, SHORT_ROUNDS, 32)
    sent = _decrypt(session_key, bytes.fromhex(proof["AUTH_PASSWORD"].decode()))[16:]
    if user not in users or not sent or sent[: -sent[-1]] != known:
        wire.send(error(1017, "ORA-01017: invalid username/password; logon denied\n"))
        return None
    facts = {
        "AUTH_SVR_RESPONSE": _encrypt(session_key, secrets.token_bytes(16) + b"SERVER_TO_CLIENT" + bytes([16] * 16))
        .hex()
        .upper(),
        "AUTH_VERSION_NO": str(VERSION),
        "AUTH_SESSION_ID": "52",
        "AUTH_SERIAL_NUM": "7",
        "AUTH_SC_SERVICE_NAME": service,
        "AUTH_SC_DBUNIQUE_NAME": "STANDIN",
        "AUTH_INSTANCENAME": "STANDIN",
        "AUTH_MAX_OPEN_CURSORS": "300",
    }
    wire.send(pairs({key: (value, 0) for key, value in facts.items()}) + status())
    return user


def _step(wire: Wire, function: int) -> tuple[str, dict[str, bytes]]:
    """A client's message of the login: its user and its keys and values."""
    reader = Reader(wire.receive(), wire.receive)
    if (reader.byte(), reader.byte()) != (FUNCTION, function):
        raise EOFError
    reader.byte()  # sequence
    has_user = reader.byte()
    reader.number()  # the user's length
    reader.number()  # mode
    reader.byte()
    count = reader.number()
    reader.take(2)
    user = (reader.value() or b"") if has_user else b""
    return user.decode().upper(), reader.pairs(count)


def _encrypt(key: bytes, content: bytes) -> bytes:
    encryptor = _cipher(key).encryptor()
    return encryptor.update(content) + encryptor.finalize()


def _decrypt(key: bytes, content: bytes) -> bytes:
    return _cipher(key).decryptor().update(content)


def _cipher(key: bytes) -> Cipher[modes.CBC]:
    return Cipher(algorithms.AES(key), modes.CBC(bytes(16)))
