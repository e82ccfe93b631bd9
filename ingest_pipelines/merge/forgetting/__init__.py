"""Erases people from the target and from the ledger, in the transaction of the caller.

people      who they are: their profiles, and everything that identifies them
places      every place that may keep something of theirs: PLACES
"""

from ingest_pipelines.merge.forgetting.people import (
    FoundProfile,
    People,
    ProfileValue,
    find_profiles,
    is_address,
    is_distinctive,
    values_of,
)
from ingest_pipelines.merge.forgetting.places import PLACES, Place

__all__ = [
    "PLACES", "FoundProfile", "People", "Place", "ProfileValue", "find_profiles", "is_address", "is_distinctive",
    "values_of",
]  # fmt: skip
