"""Waiting for a pool: a run that waits for its turn rests meanwhile, and starts soon after the pool is free.

Dagster's executor asks for a place in a pool, and where there is none it computes how long to rest until it asks again:
`interval_to_next_pending_claim_check` never says more than nothing. So each waiting run keeps a core busy, while the
times between two questions grow to 15 seconds, during which a free pool stays unused. Twenty imports into one table
took 198 seconds for it, and 340 seconds of CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from time import sleep

from dagster._core.storage.event_log import SqlEventLogStorage
from dagster._utils.concurrency import ConcurrencyClaimStatus
from dagster_shared.record import replace

REST_SECONDS = 0.5
"""Between two questions of one run; twenty that wait ask forty times a second."""


def rest_between_claims(storage: SqlEventLogStorage, rest: Callable[[float], None] = sleep) -> None:
    """Who is refused a place rests here, and may ask again at once.

    Args:
        rest: waits that many seconds; a run that is terminated ends it.
    """
    ask = storage.claim_concurrency_slot

    def claim_concurrency_slot(
        concurrency_key: str, run_id: str, step_key: str, priority: int | None = None
    ) -> ConcurrencyClaimStatus:
        status = ask(concurrency_key, run_id, step_key, priority)
        if status.is_claimed:
            return status
        rest(REST_SECONDS)
        return replace(status, sleep_interval=0.0)

    storage.claim_concurrency_slot = claim_concurrency_slot  # type: ignore[method-assign]
