"""A pool gets its limit once, where two runs claim its first slot at the same moment.

The first claim in a pool inserts the pool's default limit. Dagster catches that another run was faster, and goes on in
the transaction that Postgres has aborted: the run fails, and the command says that the storage broke off.

Waits for: dagster issue 33552, with several pull requests (33558, 33601, 33890).
If `initialize_concurrency_limit_to_default` or `get_pool_limits` go: of two first runs for a table, one may fail.
"""

from __future__ import annotations

from dagster._core.storage.event_log import SqlEventLogStorage
from sqlalchemy.exc import SQLAlchemyError


def limit_each_pool_once(storage: SqlEventLogStorage) -> None:
    """Replaces `initialize_concurrency_limit_to_default`: a pool that another run has limited meanwhile is limited."""
    original = storage.initialize_concurrency_limit_to_default

    def initialize_concurrency_limit_to_default(concurrency_key: str) -> bool:
        try:
            return original(concurrency_key)
        except SQLAlchemyError:
            if concurrency_key not in {limit.name for limit in storage.get_pool_limits()}:
                raise
            return True

    storage.initialize_concurrency_limit_to_default = (  # type: ignore[method-assign]
        initialize_concurrency_limit_to_default
    )
