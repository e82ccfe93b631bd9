"""What the benchmarks of many imports have in common: files of a project, a process of its own, and a table."""

# ruff: noqa: T201  it talks to the terminal

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml


def write_yaml(path: Path, value: object) -> None:
    """Writes one file of the project."""
    path.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")


def inside(module: str, environment: Mapping[str, str], name: str, *options: str) -> dict[str, float]:
    """The measurement of that name in a process of its own, which prints it as JSON on its last line."""
    words = [sys.executable, "-m", module, "--inside", name, *options]
    done = subprocess.run(words, env={**os.environ, **environment}, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def timed(act: Callable[[], object]) -> float:
    """Seconds."""
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def print_found(title: str, found: Mapping[str, float]) -> None:
    """Prints measurements, with how busy the machine is."""
    print(f"{title} (load average {os.getloadavg()[0]:.1f})", flush=True)
    width = max(map(len, found), default=0)
    for name, value in found.items():
        print(f"  {name:<{width}}{value:>12}", flush=True)
