"""Who looks at a page, and what that person may do.

Without a proxy the studio listens on loopback only, and everybody who reaches it is the account that started it. With a
proxy secret it answers only requests that carry the secret, and believes their headers: only the proxy knows it.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import Request

from ingest_pipelines.actions.launcher import user
from ingest_pipelines.config.base import in_one_of
from ingest_pipelines.config.settings import StudioAccess
from ingest_pipelines.errors import IngestError, printable

PROXY_HEADER = "X-Ingest-Proxy"
USER_HEADER = "X-Forwarded-User"
GROUPS_HEADER = "X-Forwarded-Groups"

OPERATORS = "operators"
"""The group of people who may change something; the others read."""

PERSONAL = "pii"
"""The group of people who may see values of fields marked `pii: true`. Each look is in the audit trail."""


class Forbidden(IngestError):
    """The person may not do this."""


@dataclass(frozen=True)
class Person:
    """Somebody who uses the studio.

    Attributes:
        name: for the ledger, as the command line writes it: `ann@laptop`, or the name that the proxy gives.
        acts: may run, pause, correct.
        sees_personal: may see values of fields marked `pii: true`.
        groups: that the proxy names; None: the account of this machine, which is in every group.
    """

    name: str
    acts: bool
    sees_personal: bool
    groups: frozenset[str] | None = None

    def is_in(self, groups: Collection[str]) -> bool:
        """Whether the person is in one of the groups; no groups are everybody."""
        return in_one_of(self.groups, groups)


def person_behind(headers: Headers, access: StudioAccess) -> Person | None:
    """The person who sends a request with these headers; None: it did not come through the proxy."""
    if access.proxy_secret is None:
        return Person(user(), acts=True, sees_personal=True)
    given = headers.getlist(PROXY_HEADER)
    if len(given) != 1 or not secrets.compare_digest(given[0].encode(), access.proxy_secret.encode()):
        return None
    names = headers.getlist(USER_HEADER)
    if len(names) != 1 or not names[0].strip():
        return None
    given_groups = (name.strip() for line in headers.getlist(GROUPS_HEADER) for name in line.split(","))
    groups = frozenset(name for name in given_groups if name)
    return Person(printable(names[0].strip(), 200), OPERATORS in groups, PERSONAL in groups, groups)


def person_of(request: Request) -> Person:
    """Who looks at the page."""
    person: Person = request.scope["person"]
    return person


def acting(request: Request) -> Person:
    """The person who changes something.

    Raises:
        Forbidden: the person is a viewer.
    """
    person = person_of(request)
    if not person.acts:
        raise Forbidden("you may look, and not change anything", hint=f"ask for the group {OPERATORS}")
    return person
