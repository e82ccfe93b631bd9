"""A drain that kills itself at a fault point: `python -m ... SOURCE_URL TARGET_URL FOLDER POINT`."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from ingest_pipelines.merge import Target, apply
from ingest_pipelines.model import Workspace
from ingest_pipelines.pipeline import steps
from ingest_pipelines_tests.pipeline.conftest import Shop
from ingest_pipelines_tests.pipeline.test_cursor_torture import QUERY


def main(source_url: str, target_url: str, folder: Path, point: str) -> None:
    """The drain's first chunk gets as far as the point."""

    def die(passed: str) -> None:
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    os.environ["SHOP_PW"] = str(urlsplit(source_url).password)
    setattr(steps, "apply", partial(apply, fault=die))  # noqa: B010  # the module's own name for it
    shop = Shop(source_url, Target(target_url, 5), Workspace(folder / "spool", folder / "spill"))
    list(shop.drain(shop.bound(**QUERY), "killed"))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4])
