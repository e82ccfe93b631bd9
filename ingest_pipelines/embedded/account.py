"""The account that runs Postgres. Postgres refuses to run as root, and containers often run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest_pipelines.errors import UsageError


@dataclass(frozen=True)
class Account:
    """Who runs Postgres and owns its files.

    Attributes:
        prefix: words in front of every Postgres command.
        owner: user and group ids for the data folder; None: the current user.
    """

    prefix: tuple[str, ...] = ()
    owner: tuple[int, int] | None = None

    def give(self, path: Path) -> None:
        """Makes the account the owner of `path`."""
        if self.owner is not None:
            os.chown(path, *self.owner)


def choose_account(needed: Sequence[Path]) -> Account:
    """The current user; for root the account `nobody`, which can reach all `needed` paths.

    Below a private folder, such as a virtual environment in /root, `nobody` keeps one capability of root: reading
    and writing where permissions forbid it. Root had it too, and without it Postgres would not start.

    Raises:
        UsageError: root on a system without `setpriv`.
    """
    if os.geteuid() != 0:
        return Account()
    nobody = pwd.getpwnam("nobody")
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise UsageError(
            f"Postgres refuses to run as root, and {sys.platform} has no setpriv to switch the user",
            hint="run ingest as another user, or set INGEST_DATABASE_URL to your own Postgres",
        )
    prefix = [setpriv, f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    if not all(_open_to_all(path.resolve()) for path in needed):
        # no_setuid_fixup makes access(2) respect the capability; initdb asks it about its neighbour `postgres`.
        prefix += ["--securebits=+no_setuid_fixup", "--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return Account(tuple(prefix), (nobody.pw_uid, nobody.pw_gid))


def _open_to_all(path: Path) -> bool:
    """Whether every user can reach and execute `path`."""
    return all(step.stat().st_mode & stat.S_IXOTH for step in (path, *path.parents))
