"""Decrypts one OpenPGP message from stdin to stdout, in a process of its own.

Its exit code says how it ended; it prints nothing. The library holds Python's lock from the message's first byte to its
last: in our own process nothing else would run meanwhile. It is started as a file, so that it imports little.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

NO_LIBRARY, NO_KEY, LOCKED, PASSPHRASE, NO_SIGNER, WRONG_KEY, SIGNATURE, COMPRESSED, DAMAGED = range(10, 19)


def main(descriptor: int) -> int:
    """Reads the keys as JSON from the descriptor, then decrypts."""
    with os.fdopen(descriptor, encoding="utf-8") as pipe:
        keys = {name: value for name, value in json.load(pipe).items() if value is not None}
    try:
        import pysequoia as openpgp
    except ImportError:
        return NO_LIBRARY
    reading: dict[str, Any] = {"passwords": [keys.get("passphrase")]}
    if "private_key" in keys:
        try:
            exported = keys["private_key"].encode("latin-1")
            if not openpgp.Cert.from_bytes(exported).has_secret_keys:
                return NO_KEY
            secret = openpgp.Tsk.from_bytes(exported)
        except Exception:  # the library has no classes of errors of its own
            return NO_KEY
        try:
            reading = {"decryptor": secret.decryptor()}
        except Exception:
            if "passphrase" not in keys:
                return LOCKED
            try:
                reading = {"decryptor": secret.decryptor(keys["passphrase"])}
            except Exception:
                return PASSPHRASE
    if "signers" in keys:
        try:
            signers = openpgp.Cert.split_bytes(keys["signers"].encode("latin-1"))
        except Exception:
            return NO_SIGNER
        if not signers:
            return NO_SIGNER
        reading["store"] = lambda key_ids: signers
    try:
        openpgp.decrypt_file("/dev/stdin", "/dev/stdout", **reading)
    except Exception as error:
        text = str(error)
        if "No key to decrypt" in text:
            return WRONG_KEY
        if "Unexpected message structure" in text and "signers" in keys:
            return COMPRESSED
        return SIGNATURE if "no valid signatures" in text else DAMAGED
    return 0


if __name__ == "__main__":
    os._exit(main(int(sys.argv[1])))  # stdout is the message: nothing may be flushed into it
