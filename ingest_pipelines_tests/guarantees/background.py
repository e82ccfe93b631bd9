"""What a world does beside its clock: each kind of work on a thread of its own, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Background:
    """Work under names.

    Args:
        threads: how many works go on at once.
        tell: gets a line for each work that ended with an error.
        expected: errors that a world full of faults brings with it; any other one is raised by `is_idle`.
    """

    def __init__(self, threads: int, tell: Callable[[str], None], expected: tuple[type[Exception], ...]) -> None:
        self._pool = ThreadPoolExecutor(threads)
        self._tell, self._expected = tell, expected
        self._last: dict[str, Future[None]] = {}

    def start(self, name: str, work: Callable[[], None]) -> None:
        """Begins the work under that name, of which none goes on."""
        self._last[name] = self._pool.submit(work)

    def is_idle(self, name: str) -> bool:
        """Whether the last work of that name is done; an error of it that nobody expects is raised."""
        future = self._last.get(name)
        if future is None:
            return True
        if not future.done():
            return False
        del self._last[name]
        error = future.exception()
        if error is not None:
            self._tell(f"{name}: {type(error).__name__}: {str(error)[:300]}")
            if not isinstance(error, self._expected):
                raise error
        return True

    @property
    def running(self) -> list[str]:
        """The names of what goes on."""
        return [name for name, future in self._last.items() if not future.done()]

    def stop(self) -> None:
        """Begins nothing more, and waits for nothing."""
        self._pool.shutdown(wait=False, cancel_futures=True)
