from __future__ import annotations

from pathlib import Path

import polars as pl

from ingest_pipelines.config.imports import Limits
from ingest_pipelines.landing import read_csv
from ingest_pipelines_tests.landing.files import landed


def test_frames_can_be_read_again_from_their_start(tmp_path: Path) -> None:
    content = b"id,tier\n" + b"".join(b'%d,"a\nb"\n' % number for number in range(1000))
    _, frames = read_csv(landed(content, tmp_path), ("id",), Limits(), batch_rows=100)
    first, second = pl.concat(frames), pl.concat(frames)
    assert len(first) == 1000
    assert first.equals(second)
