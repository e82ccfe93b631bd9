"""A process that waits for work: what it imports before, whether the files have changed since, and its name."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module


def import_and_keep(modules: Sequence[str]) -> None:
    """Imports the modules. Nobody looks for garbage in what they made: it would copy memory that is shared.

    What is made later is looked through rarely: a run makes many objects and little garbage.
    """
    gc.disable()
    for name in modules:
        import_module(name)
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()


def imported_files() -> Mapping[str, int]:
    """When each file that this process imported was last changed, in nanoseconds; 0: it is gone."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return {file: changed_at(file) for file in files if file}


def have_changed(files: Mapping[str, int]) -> bool:
    """Whether one of the files is not what `imported_files` found: the process has old code."""
    return any(changed_at(file) != changed for file, changed in files.items())


def changed_at(file: str) -> int:
    """When the file was last changed, in nanoseconds; 0: it is gone."""
    try:
        return os.stat(file).st_mtime_ns  # noqa: PTH116  # of thousands of files: without a Path for each
    except OSError:
        return 0


def call_this(name: str) -> None:
    """What people see as this process's name."""
    with suppress(OSError):  # no run depends on it
        file = os.open("/proc/self/comm", os.O_WRONLY)
        os.write(file, name.encode())
        os.close(file)
