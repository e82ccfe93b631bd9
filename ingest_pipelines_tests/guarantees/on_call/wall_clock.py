"""A wall clock that jumps, for the processes that are told to use it: a library of twenty lines, preloaded.

libfaketime 0.9.10 would do, but under it Python's `time.sleep` fails unless the monotonic clock jumps as well.
"""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from pathlib import Path

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile long long *ahead;
static int (*true_clock)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("WALL_CLOCK_AHEAD");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *shared = file >= 0 ? mmap(0, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0) : MAP_FAILED;
    true_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    ahead = shared == MAP_FAILED ? 0 : shared;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!true_clock) begin();
    int failed = true_clock(clock, now);
    if (!failed && ahead && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += *ahead;
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *where) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (where) *where = precise.tv_sec;
    return precise.tv_sec;
}
"""


class WallClock:
    """The clock of the processes with this `environment`. The servers, and the tests, have the true time.

    Attributes:
        environment: empty where there is no C compiler: then the clock cannot jump.
    """

    def __init__(self, folder: Path) -> None:
        self.environment: dict[str, str] = {}
        compiler = shutil.which("cc")
        if compiler is None:
            return
        library, ahead = folder / "wall_clock.so", folder / "wall_clock"
        ahead.write_bytes(struct.pack("q", 0))
        self._file = ahead.open("r+b")
        self._ahead = mmap.mmap(self._file.fileno(), 8)
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", library, "-ldl"],
            input=_SOURCE, text=True, check=True,
        )  # fmt: skip
        self.environment = {"LD_PRELOAD": str(library), "WALL_CLOCK_AHEAD": str(ahead)}

    def jump(self, seconds: int) -> None:
        """From now on the clock is so far ahead of the true time."""
        self._ahead[:] = struct.pack("q", seconds)
