"""What a process is: a test has children of other tests, too, and some of them are over and not asked for yet."""

import psutil


def words_of(process: psutil.Process) -> str:
    """Its name and its command line; "" for one that is gone, or that ended and nobody asked for its end yet."""
    try:
        return " ".join((process.name(), *process.cmdline()))
    except psutil.NoSuchProcess:  # a zombie, too
        return ""
