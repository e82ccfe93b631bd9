"""Which assets the run of this process has selected, known before the code location is loaded.

Waits for: a code location that Dagster tells which run it is loaded for. A run's process loads the whole location and
uses one asset of it; of a thousand imports that takes seven seconds of a core. A code server gives a run's process the
run's arguments as the first of its own, other launchers on the command line (`dagster api execute_run`). Whose
launcher uses the environment defines all.
If `StartRun` or `ExecuteRunArgs` change: no run is found, and each run defines all imports again, as slowly as before.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from dagster import AssetKey, DagsterInstance
from dagster._grpc.types import ExecuteExternalJobArgs, ExecuteRunArgs
from dagster._serdes import deserialize_value
from dagster_shared.serdes.errors import DeserializationError

_announced: list[str] = []
"""The run's arguments in a process that the run server forked."""

_asked: list[str] = []
"""Of which announced run somebody wanted to know the assets."""


def announce(packed: str) -> None:
    """Says which run this process executes."""
    _announced[:] = [packed]


def is_asked() -> bool:
    """Whether the definitions that this process has are those of an announced run only."""
    return bool(_asked)


def forget_question() -> None:
    """The definitions are about to be loaded again."""
    _asked.clear()


def assets_of_own_run() -> AbstractSet[AssetKey] | None:
    """The assets that this process's run has selected; None in any other process, and of a run that selected none."""
    _asked[:] = _announced
    for packed in _arguments():
        try:
            arguments = deserialize_value(packed, (ExecuteExternalJobArgs, ExecuteRunArgs))
        except (ValueError, DeserializationError):  # the words of another process
            continue
        if arguments.instance_ref is None:
            return None
        with DagsterInstance.from_ref(arguments.instance_ref) as instance:
            run = instance.get_run_by_id(arguments.run_id)
        return run.asset_selection if run is not None and run.asset_selection else None
    return None


def _arguments() -> Iterator[str]:
    """What may be the run's arguments, as Dagster writes them."""
    yield from _announced
    process = multiprocessing.current_process()
    of_process = getattr(process, "_args", ())
    if of_process and isinstance(of_process[0], str):
        yield of_process[0]
    if sys.argv[1:3] == ["api", "execute_run"] and len(sys.argv) > 3:
        yield sys.argv[3]
