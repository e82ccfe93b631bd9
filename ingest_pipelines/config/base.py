"""What every config model shares: strictness, secrets, durations."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from ingest_pipelines.errors import ConfigError


class Strict(BaseModel):
    """Unknown keys are mistakes; a parsed model never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def without_dots(path: Path) -> Path:
    """The path without `..`; as it is where a symbolic link gives its `..` another meaning."""
    if ".." not in path.parts:
        return path
    plain = Path(os.path.normpath(path))
    return plain if os.path.realpath(plain) == os.path.realpath(path) else path


def _from_home(value: str, info: ValidationInfo) -> str:
    home = (info.context or {}).get("home")
    return value if home is None else str(without_dots(Path(home) / Path(value).expanduser()))


def in_one_of(own: Collection[str] | None, groups: Collection[str]) -> bool:
    """Whether somebody in these groups of her own is in one of `groups`.

    Args:
        own: None: she is in every group.
        groups: empty: everybody is in them.
    """
    return own is None or not groups or not set(own).isdisjoint(groups)


LocalPath = Annotated[str, Field(min_length=1), AfterValidator(_from_home)]
"""A file or folder on this machine; a relative one starts at the project's folder."""


_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*|[a-z][a-z0-9]*(_[a-z0-9]+)+")
"""What a message may quote as the name of a variable: passwords rarely look so."""


def is_set(*, env: str | None = None, file: str | None = None) -> bool:
    """Whether a secret is there: its variable, or its file that can be read, holds something."""
    if file is None:
        return bool(os.environ.get(env or ""))
    return _is_readable(file) and Path(file).stat().st_size > 0


def _is_readable(file: str) -> bool:
    return os.access(file, os.R_OK) and Path(file).is_file()


class Secret(Strict):
    """A reference to a secret: `{env: NAME}` or `{file: /path}`. Its value is never shown.

    The value is looked up once, while the config is read, so that a missing secret is a config error
    beside all others and not a surprise in a run.
    """

    env: str | None = None
    file: LocalPath | None = None

    @model_validator(mode="before")
    @classmethod
    def _reference_only(cls, value: Any) -> Any:
        if value is not None and not isinstance(value, (dict, Secret)):
            raise ValueError(
                "a literal in a secret slot; write {env: NAME} or {file: /path} and keep the value out of YAML"
            )
        return value

    @model_validator(mode="after")
    def _resolvable(self) -> Self:
        if (self.env is None) == (self.file is None):
            raise ValueError("a secret is {env: NAME} or {file: /path}, exactly one of them")
        if self.env is not None and not is_set(env=self.env):
            if self.env in os.environ:
                raise ValueError("the environment variable that it names is empty")
            if _VARIABLE.fullmatch(self.env) is None:  # it may be the secret itself
                raise ValueError(
                    "env takes the name of an environment variable, such as VENDOR_PW; this one is not set"
                )
            raise ValueError(f"the environment variable {self.env} is not set")
        if self.file is not None and not is_set(file=self.file):
            path = self.file if "\n" not in self.file else "that it names"
            what = "is empty" if _is_readable(self.file) else "does not exist or is not readable"
            raise ValueError(f"the secret file {path} {what}")
        return self

    def reveal(self) -> str:
        """The secret's value. Never log it, never put it into a message.

        Raises:
            ConfigError: the file cannot be read, or holds no text.
        """
        if self.env is not None:
            return os.environ[self.env]
        try:
            text = Path(str(self.file)).read_text(encoding="utf-8").removesuffix("\n")
        except UnicodeDecodeError:
            text = "\0"
        except OSError as error:
            raise ConfigError([f"the secret file {self.file} cannot be read: {error.strerror}"]) from None
        if "\0" in text:
            raise ConfigError(
                [f"the secret file {self.file} is not UTF-8 text"], hint="save the secret as UTF-8"
            ) from None
        return text

    def reveal_bytes(self) -> bytes:
        """The same of a secret that need not be text, such as a key."""
        return os.environ[self.env].encode() if self.env is not None else Path(str(self.file)).read_bytes()


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(value: Any) -> timedelta:
    """`90s`, `10m`, `6h`, `1d`, `2w` as a timedelta.

    Raises:
        ValueError: another spelling, or not above zero.
    """
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"(\d{1,6})([smhdw])", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a duration is a whole number and a unit: 90s, 10m, 6h, 1d or 2w")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,6}[smhdw]$", "examples": ["60s", "10m", "6h", "1d"]}),
]


def spelled(pattern: str, meaning: str) -> Callable[[str], str]:
    """A validator: the text matches the pattern. The mistake is its `meaning`, because nobody reads a pattern."""

    def check(value: str) -> str:
        if re.fullmatch(pattern, value) is None:
            raise ValueError(meaning)
        return value

    return check


NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_]{0,62}$"
NAME_MEANING = "a name is a letter, then letters, digits and _, at most 63 characters"
Name = Annotated[
    str,
    AfterValidator(spelled(NAME_PATTERN, NAME_MEANING)),
    WithJsonSchema({"type": "string", "pattern": NAME_PATTERN}),
]
"""A Dagster-safe and Postgres-safe name."""


_GROUP_PATTERN = r"^[^,\s](?:[^,]*[^,\s])?$"
Group = Annotated[
    str,
    Field(max_length=200),
    AfterValidator(spelled(_GROUP_PATTERN, "a group's name has no comma, and no blank at its ends")),
    WithJsonSchema({"type": "string", "pattern": _GROUP_PATTERN, "maxLength": 200}),
]
"""A group of people, as the proxy in front of the studio names it."""

_OWNER_PATTERN = r"^(?:team:.*\S.*|[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7})$"
Owner = Annotated[
    str,
    AfterValidator(spelled(_OWNER_PATTERN, "an owner is team:NAME, or a mail address whose ending has 2 to 7 letters")),
    WithJsonSchema({"type": "string", "pattern": _OWNER_PATTERN}),
]
"""An owner, as Dagster takes them."""


def _known_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"'{value}' is not an IANA time zone such as Europe/London or UTC") from None
    return value


TimeZone = Annotated[str, AfterValidator(_known_zone)]
"""An IANA time zone."""
