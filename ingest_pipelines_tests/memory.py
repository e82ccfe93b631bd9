"""What a process of the tests holds in memory."""

from __future__ import annotations

from mmap import PAGESIZE
from pathlib import Path


def resident() -> int:
    """Bytes of this process that are in memory, pages of mapped files included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGESIZE
