"""Names of Dagster's own run tags.

Waits for: constants in the public API; Dagster documents some of the names, and exports none.
If a name goes: an ImportError at start. If its value changes: nothing here, for Dagster and we read the same constant.
"""

from dagster._core.storage.tags import (
    AUTO_RETRY_RUN_ID_TAG,
    BACKFILL_ID_TAG,
    GRPC_INFO_TAG,
    MAX_RETRIES_TAG,
    PARTITION_NAME_TAG,
    PRIORITY_TAG,
    RETRY_NUMBER_TAG,
    WILL_RETRY_TAG,
)

__all__ = [
    "AUTO_RETRY_RUN_ID_TAG",
    "BACKFILL_ID_TAG",
    "GRPC_INFO_TAG",
    "MAX_RETRIES_TAG",
    "PARTITION_NAME_TAG",
    "PRIORITY_TAG",
    "RETRY_NUMBER_TAG",
    "WILL_RETRY_TAG",
]
