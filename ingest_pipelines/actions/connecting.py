"""What a new connection needs, and which names are free."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from ingest_pipelines.config import Project


def wrong_name(home: Path, name: str) -> str | None:
    """What is wrong with a new import's name, or None."""
    if wrong := _wrong_spelling(name):
        return wrong
    existing = [file for file in (home / "imports").glob("*") if file.stem.lower() == name.lower()]
    return f"{existing[0]} exists already" if existing else None


def _wrong_spelling(name: str) -> str | None:
    from ingest_pipelines.config.base import NAME_PATTERN

    if re.fullmatch(NAME_PATTERN, name) is None:
        return "a name is a letter, then letters, digits and _, at most 63 characters"
    return None


def wrong_port(answer: str) -> str | None:
    """What is wrong with a port, or None."""
    return None if answer.isdecimal() and 0 < int(answer) < 65_536 else "a port is a number from 1 to 65535"


def settings_asked(kind: str) -> dict[str, tuple[bool, str | None]]:
    """The keys to ask for: whether each is a secret, and its default."""
    from ingest_pipelines.config.connections import TYPES

    return _slots(kind, TYPES[kind].asked)


def other_secrets(kind: str) -> dict[str, tuple[bool, str | None]]:
    """The secrets that a connection may have besides, such as a private key in place of a password."""
    from ingest_pipelines.config.base import Secret
    from ingest_pipelines.config.connections import TYPES

    model = TYPES[kind]
    secrets = [key for key, info in model.model_fields.items() if Secret in get_args(info.annotation)]
    return _slots(kind, [key for key in secrets if key not in model.asked])


def _slots(kind: str, keys: Iterable[str]) -> dict[str, tuple[bool, str | None]]:
    from ingest_pipelines.config.base import Secret
    from ingest_pipelines.config.connections import TYPES

    model = TYPES[kind]
    slots: dict[str, tuple[bool, str | None]] = {}
    for key in keys:
        info = model.model_fields.get(key) or model.model_fields[f"{key}_"]
        secret = Secret in get_args(info.annotation)
        slots[key] = (secret, None if info.is_required() else "" if info.default is None else str(info.default))
    return slots


def wrong_connection_name(project: Project, name: str) -> str | None:
    """What is wrong with a connection's name, or with the connection of that name, or None."""
    if wrong := _wrong_spelling(name):
        return wrong
    mistakes = [mistake for mistake in project.mistakes if f": connections.{name}" in mistake]
    return "; ".join(mistakes) or None


def yaml_settings(kind: str, answers: Mapping[str, str]) -> dict[str, Any]:
    """The connection's settings as YAML has them; a default is left out. A secret's answer names a variable."""
    settings: dict[str, Any] = {"type": kind}
    for key, (secret, default) in {**settings_asked(kind), **other_secrets(kind)}.items():
        answer = answers.get(key, "")
        if answer and answer != default:
            is_port = key == "port" and wrong_port(answer) is None
            settings[key] = {"env": answer} if secret else int(answer) if is_port else answer
    return settings


def reads_this_machine(kind: str) -> bool:
    """Whether a connection of that type names a folder of this machine: such a one is made in an editor only."""
    from ingest_pipelines.config.connections import TYPES, FileConnection

    model = TYPES[kind]
    return issubclass(model, FileConnection) and model.one_time
