"""Reads landed JSON lines as text frames with line numbers, in bounded memory.

Arrow parses a block of lines at once, where each column holds values of one kind. Blocks in which it does not, or which
have nested values that the import maps, are parsed row by row: slower, with the same result. Two blocks are parsed at a
time: JSON costs more to parse than the same rows as CSV, and the rules leave half a core to spare.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.json as arrow_json

from ingest_pipelines.config.imports import Limits
from ingest_pipelines.errors import ItemRefused
from ingest_pipelines.file_content import bytes_of_marks, content_of
from ingest_pipelines.landing.arrow_types import text_array
from ingest_pipelines.landing.cell_caps import check_cells, check_columns
from ingest_pipelines.landing.edges import trim_column
from ingest_pipelines.landing.frames import BATCH_BYTES, Frames
from ingest_pipelines.landing.header import Spellings
from ingest_pipelines.landing.json_values import Number, RepeatedKey, cell_of, kind_of, parsed
from ingest_pipelines.model import LINE, Landing

BLOCK = 8 << 20
"""Bytes that are parsed at a time: about as many rows of a customer file as are validated at a time."""

FRAME_ROWS = 16_384
"""Blocks of at least so many rows are frames by themselves: to put them together would copy every cell."""

AT_ONCE = 2
"""Blocks that are parsed at a time."""

SAMPLE = 1_000
"""Rows whose keys are the columns, besides those that the import maps."""

SAMPLED_BYTES = 1 << 20
"""The sample's rows are looked for in so many bytes first: to cut a whole block into lines copies it three times."""

Numbers = npt.NDArray[np.int64]
Letters = npt.NDArray[np.uint8]

Block = bytes | memoryview
"""Whole lines of the file. A view of the bytes that were read: they are not copied."""


@dataclass(frozen=True)
class _Shape:
    """What the rows are expected to hold.

    Attributes:
        columns: in the order of their first row.
        types: how Arrow is to parse each; None: it cannot.
    """

    columns: tuple[str, ...]
    types: dict[str, pa.DataType | None]

    def schema(self, columns: Sequence[str]) -> pa.Schema | None:
        """The schema of these columns; None if Arrow cannot parse all of them."""
        types = [self.types[column] for column in columns]
        if any(kind is None for kind in types):
            return None
        return pa.schema(list(zip(columns, types, strict=True)))


def read_jsonl(
    landing: Landing,
    required_columns: Sequence[str],
    spellings: Spellings,
    limits: Limits,
    *,
    batch_rows: int = FRAME_ROWS,
) -> tuple[tuple[str, ...], Frames]:
    """The keys of the rows, and the rows as frames: LINE (the line of the row's object), TRIM, a String per key.

    A text is what it says, a number its digits without zeros at their end, a truth value `true` or `false`, a list or
    an object its JSON; null and a key that a row lacks are NULL.

    Raises:
        ItemRefused: a line is not one JSON object in UTF-8, or repeats a key; no row has a required key; a limit is
            exceeded.
    """
    shape = _shape(landing, required_columns, spellings, limits)
    return shape.columns, Frames(
        partial(_frames, landing, shape, limits, batch_rows), partial(_some_columns, landing, shape, limits)
    )


def _shape(landing: Landing, required: Sequence[str], spellings: Spellings, limits: Limits) -> _Shape:
    uri = landing.item.uri
    kinds: dict[str, set[str]] = {}
    digits: dict[str, int] = {}
    rows = 0
    for block, lines in _blocks(landing, limits):
        for line, text in zip(lines[:SAMPLE].tolist(), _first_texts(block), strict=True):
            if rows == 0 and text[:1] != b"{":
                _refuse_other_content(landing, text)
            for key, value in _row(landing, line, text).items():
                kinds.setdefault(key, set()).add(kind_of(value))
                if isinstance(value, Number):
                    digits[key] = max(digits.get(key, 0), len(value.partition(".")[2]))
            rows += 1
        break
    if not rows:
        raise ItemRefused(f"{uri}: the file is empty", line=1, hint="upload a file with a JSON object on each line")
    mapped = {name for column in required for name in (column, *spellings.get(column, ()))}
    for column in required:
        names = (column, *spellings.get(column, ()))
        if kinds.keys().isdisjoint(names):
            for name in _further_down(landing, names, limits):
                kinds[name] = {"null"}
    # A nested value that no column maps is nobody's cell.
    columns = tuple(key for key, found in kinds.items() if "nested" not in found or key in mapped)
    if not columns:
        raise ItemRefused(
            f"{uri}, line 1: its objects hold nothing but lists and objects",
            line=1,
            hint="write each customer as an object on a line of its own (JSON Lines)",
        )
    check_columns(landing, columns, required, spellings, limits)
    return _Shape(columns, {column: _type(kinds[column] - {"null"}, digits.get(column, 0)) for column in columns})


def _type(kinds: set[str], digits: int) -> pa.DataType | None:
    if kinds <= {"text"}:
        return pa.string()
    if kinds == {"truth"}:
        return pa.bool_()
    if kinds == {"number"} and digits <= 18:
        return pa.decimal128(38, digits) if digits else pa.int64()
    return None


def _further_down(landing: Landing, names: Sequence[str], limits: Limits) -> list[str]:
    """The keys that occur after the sample. One that no row has is a spelling mistake, and not an empty cell."""
    spelled = {name: {json.dumps(name).encode(), json.dumps(name, ensure_ascii=False).encode()} for name in names}
    there: list[str] = []
    for view, lines in _blocks(landing, limits):
        block = bytes(view)
        for name in [name for name, texts in spelled.items() if any(text in block for text in texts)]:
            # It may be a value, or a key of a value.
            rows = zip(lines.tolist(), _texts(block), strict=True)
            if any(
                name in _row(landing, line, row) for line, row in rows if any(text in row for text in spelled[name])
            ):
                there.append(name)
                del spelled[name]
    return there


def _refuse_other_content(landing: Landing, text: bytes) -> None:
    content = content_of(text[: 64 << 10], landing.item.path)
    if text[:1] == b"[":
        what, hint = "a JSON list", "write each of its objects on a line of its own (JSON Lines)"
    elif content is not None and content.name != "JSON":
        what, hint = content.name, content.advice
    else:
        what, hint = "not JSON Lines", "each line is one JSON object"
    raise ItemRefused(f"{landing.item.uri}, line 1: the file is {what}", line=1, hint=hint)


def _blocks(landing: Landing, limits: Limits, spare: list[Letters] | None = None) -> Iterator[tuple[Block, Numbers]]:
    """The file in blocks of whole lines without blank ones, each with its lines' numbers.

    Args:
        spare: where the memory of blocks that are parsed is put: later blocks are read into it. New memory costs a
            page fault for every 4 kB, which took as long as the reading.
    """
    spare = [] if spare is None else spare
    longest = max(BLOCK, 4 * limits.max_cell_bytes)
    is_break = np.empty(0, np.bool_)
    line = 1
    with landing.path.open("rb", buffering=0) as file:
        kept: Block = b""
        first = True
        while True:
            letters = _memory(spare, len(kept) + BLOCK)
            whole = letters.data
            whole[: len(kept)] = kept
            got = file.readinto(whole[len(kept) : len(kept) + BLOCK])
            end = len(kept) + got
            start = bytes_of_marks(bytes(whole[:end])) if first else 0
            first = False
            if len(is_break) < end:
                is_break = np.empty(len(letters), np.bool_)
            breaks = np.flatnonzero(np.equal(letters[:end], _LF, out=is_break[:end]))
            last = int(breaks[-1]) + 1 if len(breaks) else start
            cut = last if got else end
            if cut == start and end - start > longest:
                raise ItemRefused(
                    f"{landing.item.uri}, line {line}: the line is longer than {longest:,} bytes",
                    line=line,
                    hint="raise source.limits.max_cell_bytes; a line may have four times as many bytes",
                )
            if cut > start:
                block: Block = whole[start:cut]
                _check_utf8(landing, block, line)
                count = len(breaks) + (block[-1] != _LF)
                numbers = np.arange(line, line + count, dtype=np.int64)
                line += len(breaks)
                if _BLANK[letters[start]] or _BLANK[letters[breaks[: count - 1] + 1]].any():
                    texts = bytes(block).split(b"\n")[:count]
                    filled = [bool(text.strip()) for text in texts]
                    numbers = numbers[np.array(filled, np.bool_)]
                    block = b"\n".join(text for text in texts if text.strip())
                if len(numbers):
                    yield block, numbers
            kept = bytes(whole[cut:end])
            if not got:
                return


def _memory(spare: list[Letters], size: int) -> Letters:
    """Room for so many bytes, if possible in memory that was used before."""
    while spare:
        letters = spare.pop()
        if len(letters) >= size:
            return letters
    return np.empty(size + _MORE, np.uint8)


_MORE = 64 << 10
"""Room for the end of a line that is kept from block to block, so that the same memory fits the next block."""
_LF = ord("\n")
_BLANK = np.isin(np.arange(256), list(b" \t\r\n"))
"""Bytes that a blank line begins with."""


def _check_utf8(landing: Landing, block: Block, line: int) -> None:
    ends = pa.py_buffer(np.array([0, len(block)], np.int64))
    whole = pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, pa.py_buffer(block)])
    try:
        whole.cast(pa.large_string())
    except pa.ArrowInvalid:
        text = bytes(block)
        try:
            text.decode()
        except UnicodeDecodeError as error:
            line += text.count(b"\n", 0, error.start)
            raise ItemRefused(
                f"{landing.item.uri}, line {line}: not valid UTF-8", line=line, hint="JSON Lines are UTF-8"
            ) from None


def _texts(block: Block) -> list[bytes]:
    """The lines of the block."""
    return bytes(block).removesuffix(b"\n").split(b"\n")


def _first_texts(block: Block) -> list[bytes]:
    """The lines of the sample."""
    texts = bytes(block[:SAMPLED_BYTES]).split(b"\n")
    return texts[:SAMPLE] if len(texts) > SAMPLE else _texts(block)[:SAMPLE]


def _frames(landing: Landing, shape: _Shape, limits: Limits, batch_rows: int) -> Iterator[pl.DataFrame]:
    waiting: list[pl.DataFrame] = []
    rows = size = 0
    for frame, size_of_batch in _parsed_ahead(landing, shape, shape.columns, limits):
        waiting.append(frame)
        rows += len(frame)
        size += size_of_batch
        if rows >= batch_rows or size >= BATCH_BYTES:
            yield waiting[0] if len(waiting) == 1 else pl.concat(waiting, rechunk=True)
            waiting, rows, size = [], 0, 0
    if rows:
        yield pl.concat(waiting, rechunk=True)


def _frame(batch: pa.RecordBatch) -> pl.DataFrame:
    """TRIM and the batch's columns as text."""
    frame = pl.DataFrame(pl.from_arrow(pa.Table.from_batches([batch])))
    written = [_written(name, kind) for name, kind in frame.schema.items() if kind != pl.String]
    if written:
        frame = frame.with_columns(written)
    return frame.insert_column(0, trim_column([batch]))


def _written(name: str, kind: pl.DataType) -> pl.Expr:
    """Numbers and truth values as text; a decimal, which has a point here, without zeros at its end."""
    text = pl.col(name).cast(pl.String)
    return text.str.strip_chars_end("0").str.strip_chars_end(".") if kind.is_decimal() else text


def _some_columns(landing: Landing, shape: _Shape, limits: Limits, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    wanted = [column for column in shape.columns if column in columns]
    try:
        for frame, _ in _parsed_ahead(landing, shape, wanted, limits):
            yield frame.drop(LINE)
    except ItemRefused:
        return


def _parsed_ahead(
    landing: Landing, shape: _Shape, columns: Sequence[str], limits: Limits
) -> Iterator[tuple[pl.DataFrame, int]]:
    """The blocks' frames in order, each with the bytes of its cells. The first refusal in the file is raised."""
    schema = shape.schema(columns)
    spare: list[Letters] = []

    def parse(block: Block, lines: Numbers) -> tuple[pl.DataFrame, int]:
        batch = None if schema is None else _parsed(block, schema, len(lines))
        if batch is None:
            batch = _row_by_row(landing, block, lines, columns)
        if isinstance(block, memoryview) and isinstance(block.obj, np.ndarray):
            spare.append(block.obj)  # the batch has cells of its own
        check_cells(landing, batch, lines, limits)  # type: ignore[arg-type]
        return _frame(batch).insert_column(0, pl.Series(LINE, lines, dtype=pl.Int64)), batch.nbytes

    def submitted(pool: ThreadPoolExecutor) -> Iterator[Future[tuple[pl.DataFrame, int]]]:
        try:
            for block, lines in _blocks(landing, limits, spare):
                yield pool.submit(parse, block, lines)
        except ItemRefused as refusal:  # in its turn: an earlier block may be refused, too
            refused: Future[tuple[pl.DataFrame, int]] = Future()
            refused.set_exception(refusal)
            yield refused

    waiting: deque[Future[tuple[pl.DataFrame, int]]] = deque()
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="jsonl") as pool:
        try:
            for future in submitted(pool):
                waiting.append(future)
                if len(waiting) > AT_ONCE:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _parsed(block: Block, schema: pa.Schema, rows: int) -> pa.RecordBatch | None:
    """The block's rows; None if a value is not of the schema's kind, or a line is not one object."""
    try:
        table = arrow_json.read_json(
            pa.BufferReader(block),
            read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=arrow_json.ParseOptions(
                explicit_schema=schema, newlines_in_values=False, unexpected_field_behavior="ignore"
            ),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    if table.num_rows != rows:
        return None
    return pa.RecordBatch.from_arrays([_whole(table.column(name)) for name in schema.names], names=schema.names)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _row_by_row(landing: Landing, block: Block, lines: Numbers, columns: Sequence[str]) -> pa.RecordBatch:
    rows = [_row(landing, line, text) for line, text in zip(lines.tolist(), _texts(block), strict=True)]
    arrays = []
    for column in columns:
        cells = [_cell(landing, line, row.get(column)) for line, row in zip(lines.tolist(), rows, strict=True)]
        try:
            arrays.append(text_array(cells))
        except UnicodeEncodeError:
            line = next(line for line, cell in zip(lines.tolist(), cells, strict=True) if not _is_text(cell))
            _refuse(landing, line, "half of a surrogate pair", "write the character whole")
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def _cell(landing: Landing, line: int, value: object) -> str | None:
    try:
        return cell_of(value)
    except RecursionError:
        _refuse(landing, line, "lists or objects that are nested too deep", "write the value as text, or do not map it")


def _is_text(cell: str | None) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in cell or "")


def _row(landing: Landing, line: int, text: bytes) -> dict[str, Any]:
    try:
        row = parsed(text)
    except RepeatedKey:
        _refuse(landing, line, "an object that repeats a key", "give each key one value")
    except (ValueError, RecursionError):
        _refuse(landing, line, _wrong_in(text), 'each line is one JSON object, such as {"id": 1}')
    if not isinstance(row, dict):
        _refuse(landing, line, "no JSON object", 'each line is one JSON object, such as {"id": 1}')
    return row


def _wrong_in(text: bytes) -> str:
    """What a line is that is no JSON."""
    line = text.decode()
    try:
        _, end = json.JSONDecoder().raw_decode(line)
    except (ValueError, RecursionError):
        return "an object that ends on another line" if line.strip() in set("{}[]") else "no JSON object"
    behind = line[end:].strip()
    if not behind:
        return "no JSON object"
    return "a comma behind the object" if behind == "," else "text behind the object"


def _refuse(landing: Landing, line: int, what: str, hint: str) -> NoReturn:
    raise ItemRefused(f"{landing.item.uri}, line {line}: {what}", line=line, hint=hint)
