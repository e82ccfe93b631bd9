"""`source.decrypt`: the keys of files that are OpenPGP messages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from pydantic import model_validator

from ingest_pipelines.config.base import Secret, Strict

ENDINGS = ("pgp", "gpg", "asc")
"""How the names of encrypted files end, after their own ending."""


@dataclass(frozen=True, repr=False)
class Keys:
    """What decrypts a file. Never shown.

    Attributes:
        private_key, signers: certificates as they were exported, armored or not.
    """

    private_key: bytes | None
    passphrase: str | None
    signers: bytes | None


class Decrypt(Strict):
    """How an import's files are decrypted. Then every file must be an encrypted message.

    Attributes:
        private_key: the key that the sender encrypts for.
        passphrase: of the private key; without a private key, of the message itself.
        signed_by: the sender's public keys: a file that none of them has signed is refused. Default: not verified.
    """

    private_key: Secret | None = None
    passphrase: Secret | None = None
    signed_by: Secret | None = None

    @model_validator(mode="after")
    def _has_a_key(self) -> Self:
        if self.private_key is None and self.passphrase is None:
            raise ValueError(
                "give private_key: {file: /path/key.asc}, or a passphrase that the files are encrypted with"
            )
        return self

    def keys(self) -> Keys:
        """The keys, read now."""
        private_key, signers = (
            secret.reveal_bytes() if secret is not None else None for secret in (self.private_key, self.signed_by)
        )
        return Keys(private_key, self.passphrase.reveal() if self.passphrase is not None else None, signers)
