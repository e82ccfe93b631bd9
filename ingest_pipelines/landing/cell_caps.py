"""The caps on columns and cells of files whose rows have numbers instead of lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemRefused, printable
from ingest_pipelines.landing.header import Spellings, check_names
from ingest_pipelines.model import OWN_COLUMNS, Landing


def check_columns(
    landing: Landing, columns: Sequence[str], required: Sequence[str], spellings: Spellings, limits: Limits
) -> None:
    """Passes if the columns are few enough, differ, and are all that the import reads.

    Raises:
        ItemRefused.
    """
    uri = landing.item.uri
    if len(columns) > limits.max_columns:
        raise ItemRefused(
            f"{uri}: {len(columns):,} columns; at most {limits.max_columns:,} are allowed",
            line=1,
            hint="raise source.limits.max_columns, or remove columns",
        )
    repeated = [column for column, times in Counter(columns).items() if times > 1]
    if repeated:
        names = ", ".join(f"'{printable(column)}'" for column in repeated[:10])
        raise ItemRefused(f"{uri}: several columns are named {names}", line=1, hint="give each its own name")
    own = [name for name in OWN_COLUMNS if name in columns]
    if own:
        raise ItemRefused(f"{uri}: the column name '{own[0]}' is reserved", line=1, hint="rename the column")
    check_names(uri, tuple(columns), required, spellings)


def check_cells(landing: Landing, batch: pa.RecordBatch, lines: Sequence[int], limits: Limits) -> None:
    """Passes if no cell is larger than `max_cell_bytes`.

    Raises:
        ItemRefused: it names the line.
    """
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if not (pa.types.is_string(column.type) or pa.types.is_binary(column.type)) or not len(column):
            continue
        data = column.buffers()[2]
        if data is None or data.size <= limits.max_cell_bytes:
            continue
        # Of values of ours, such as a 0 for NULL, Arrow imports all of pandas: half a second of every run.
        lengths = pc.binary_length(column)
        longest = pc.max(lengths)
        if (longest.as_py() or 0) > limits.max_cell_bytes:
            line = int(lines[pc.index(lengths, longest).as_py()])
            raise ItemRefused(
                f"{landing.item.uri}, line {line}: the cell in '{printable(name)}' is larger than "
                f"{limits.max_cell_bytes:,} bytes",
                line=line,
                hint="shorten it, or raise source.limits.max_cell_bytes",
            )
