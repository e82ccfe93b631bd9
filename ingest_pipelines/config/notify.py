"""Who is notified of what."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ingest_pipelines.config.base import Secret, Strict

AlertKind = Literal["failed", "rejected", "recovered", "late", "volume"]


class Notify(Strict):
    """Who is notified of what. `to` is an Apprise URL, kept out of YAML."""

    on: tuple[AlertKind, ...] = Field(min_length=1)
    to: Secret
