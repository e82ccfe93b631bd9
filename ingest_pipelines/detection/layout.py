"""How a file's beginning can be read: its type, encoding, signs, lines that are no rows, and its header."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from ingest_pipelines.config.file_format import NONE, written
from ingest_pipelines.detection.columns import is_marked
from ingest_pipelines.detection.fields import means_a_column, words_of
from ingest_pipelines.detection.numbers import choose_null_words, choose_signs
from ingest_pipelines.detection.reading import (
    PREVIEWED,
    Choose,
    Option,
    Reading,
    ask_if_different,
    preview,
    read_sample,
)
from ingest_pipelines.detection.tables import Layout, as_it_is, layouts, one_column
from ingest_pipelines.detection.workbooks import detect_workbook
from ingest_pipelines.errors import IngestError, ItemRefused, UsageError, printable
from ingest_pipelines.file_content import content_of
from ingest_pipelines.landing.dialects import TYPES
from ingest_pipelines.landing.encodings import Decoded, encodings
from ingest_pipelines.sources.browse import FileHead

NEEDS_ALL = frozenset({"xlsx", "parquet"})
"""Types that are not read from their beginning alone."""

_SEP = "CSV with a first line 'sep="
_WIDE = ("UTF-16", "UTF-32")


def detect_file(head: FileHead, choose: Choose, fields: Collection[str] = ()) -> Reading:
    """The sample, read in the plainest format that reads it whole.

    Args:
        choose: decides wherever two formats read the sample differently.
        fields: names of fields; a first line that holds such names is a header.

    Raises:
        UsageError: it is no table in any format that imports read; the message is the readers' own.
    """
    content = content_of(head.content, head.name)
    kind = TYPES.get(content.name) if content is not None else None
    if kind is not None:
        reading = _of_type(head, kind, choose)
    elif content is not None and not content.name.startswith((_SEP, *_WIDE)):
        raise UsageError(f"{printable(head.name)} is {content.name}", hint=content.advice)
    else:
        decoded = _encoding(head, choose)
        reading = _header(head.name, decoded, _layout(head, decoded, choose), choose, fields)
        reading = choose_signs(reading, choose)
    return choose_null_words(reading, choose)


def _of_type(head: FileHead, kind: str, choose: Choose) -> Reading:
    if kind in NEEDS_ALL and not head.is_whole:
        raise UsageError(
            f"{printable(head.name)} is too large to look into",
            hint=f"write the import by hand, with {written({'type': kind})} in its source",
        )
    content = head.content
    if kind == "jsonl" and not head.is_whole:
        content = content[: content.rfind(b"\n") + 1]
    try:
        if kind == "xlsx":
            return detect_workbook(content, head.name, choose)
        return read_sample(content, head.name, {"type": kind})
    except ItemRefused as refusal:
        raise UsageError(refusal.message, hint=refusal.hint) from None


def _encoding(head: FileHead, choose: Choose) -> Decoded:
    found = encodings(head.content, whole=head.is_whole)
    if not found:
        raise UsageError(
            f"{printable(head.name)} is no text in any usual encoding", hint="write format: {encoding: ...} by hand"
        )
    if not found[0].text.strip():
        raise UsageError(f"{printable(head.name)} is empty")
    options = [Option(written({"encoding": decoded.encoding or "utf-8"}), decoded.preview) for decoded in found]
    return found[choose("its letters are not UTF-8; which reading is right", options) if len(found) > 1 else 0]


def _layout(head: FileHead, decoded: Decoded, choose: Choose) -> Reading:
    """The reading of the plainest layout; of several as plain ones that differ, the one that is chosen."""
    readings: list[Reading] = []
    cost = None
    refusal: IngestError | None = None
    drops_lines = False
    last_lines: dict[str, str] = {}
    for layout in layouts(decoded.text, whole=head.is_whole):
        if cost is not None and layout.cost > cost:
            break
        try:
            readings.append(_read(head.name, decoded, layout))
        except IngestError as error:
            refusal = refusal or error
            continue
        cost = layout.cost
        last_lines[readings[-1].label] = layout.last_line
        drops_lines = drops_lines or layout.may_be_one_column
    if not readings or drops_lines:
        for layout in one_column(decoded.text, whole=head.is_whole):
            try:
                readings.append(_read(head.name, decoded, layout))
                break
            except IngestError as error:
                refusal = refusal or error
    if not readings:
        try:
            readings.append(_read(head.name, decoded, as_it_is(decoded.text, whole=head.is_whole)))
        except IngestError as error:
            refusal = refusal or error
            raise UsageError(refusal.message, hint=refusal.hint) from None
    options = [(Option(reading.label, preview(reading)), reading) for reading in readings]
    reading = ask_if_different("which reading of the file is right", options, choose)
    if last_line := last_lines.get(reading.label):
        _ask_about_end(head.name, reading, last_line, choose)
    return reading


def _ask_about_end(name: str, reading: Reading, last_line: str, choose: Choose) -> None:
    """Raises UsageError if the last line, which has too few cells, is a row after all."""
    options = [Option(reading.label, "it is no row"), Option("it is a row", "the file is damaged, and is not read")]
    if choose(f"the last line has too few cells ({printable(last_line, 40)}); what is it", options):
        raise UsageError(
            f"{printable(name)}: the last row has fewer cells than the header",
            hint="is the file whole? upload it again",
        )


def _read(name: str, decoded: Decoded, layout: Layout) -> Reading:
    keys: dict[str, Any] = {**layout.keys, **({"encoding": decoded.encoding} if decoded.encoding else {})}
    try:
        content = layout.text.encode(decoded.encoding or "utf-8")
        return read_sample(content, name, keys)
    except (ValidationError, UnicodeError):
        raise ItemRefused(f"{name}: it cannot be read with {written(keys)}") from None


def _header(name: str, decoded: Decoded, reading: Reading, choose: Choose, fields: Collection[str]) -> Reading:
    """The reading with its first line as a header or as a row: certain by the cells below it, or chosen."""
    if "header" in reading.keys:  # the line of dashes below it says that it is one
        return reading
    signs = list(_header_signs(reading, fields))
    if "name" in signs and "row" not in signs:
        return reading
    without = replace(reading, keys={**reading.keys, "header": NONE})
    layout = Layout({key: value for key, value in without.keys.items() if key != "encoding"}, decoded.text)
    try:
        rows_only = _read(name, decoded, layout)
    except IngestError:
        return reading
    if "row" in signs and "name" not in signs:
        return rows_only
    first = " | ".join(printable(cell, 20) for cell in reading.columns[:PREVIEWED])
    options = [Option("the first line names the columns", first), Option(rows_only.label, preview(rows_only))]
    return (reading, rows_only)[choose("does the first line name the columns", options)]


def _header_signs(reading: Reading, fields: Collection[str]) -> Iterator[str]:
    """Per column what its header's cell looks like beside the cells below it: a `name`, a `row`'s cell, or neither."""
    known = {words_of(field) for field in fields}
    for column, cells in zip(reading.columns, reading.cells, strict=True):
        if words_of(column) in known or means_a_column(column):
            yield "name"
        if not cells:
            continue
        kind = is_marked(cells)
        if kind is None:
            continue
        header_kind = is_marked([column]) if column else None
        if header_kind is None and column:
            yield "name"
        elif header_kind == kind and kind != "number":
            yield "row"
