"""string and enum; the rules about characters and lengths of every text."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ingest_pipelines.config.blanks import INSIDE_A_KEY
from ingest_pipelines.rules.types.base import Cell, FieldKind, Rule

LATIN_1_CEILING = 8000
"""varchar(8000): the most characters of a text within Latin-1."""
UNICODE_CEILING = 4000
"""nvarchar(4000): the most characters once any of them is outside Latin-1."""

_CONTROLS = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # all but tab, LF and the CR of a CRLF inside a cell
_DIRECTION = r"\x{202a}-\x{202e}\x{2066}-\x{2069}"  # overrides and isolates: text that shows as something else
_EMOJI = r"\p{Emoji}&&[\x{2300}-\x{23ff}\x{2600}-\x{27bf}\x{2b00}-\x{2bff}]"  # so not (c), (R), TM, digits, arrows
_EMOJI_STYLE = r"\x{fe0f}\x{20e3}"  # asks for the coloured form of the character before it; the keycap
_ASTRAL = r"\x{10000}-\x{10ffff}"
UNSUPPORTED = f"[{_CONTROLS}{_DIRECTION}{_EMOJI_STYLE}{_ASTRAL}[{_EMOJI}]]"
"""Regular expression of the characters that `characters: basic` refuses.

Letters of every script pass, with the zero-width joiners that Persian and Indic scripts need.
"""


def character_rule(cell: Cell, text: pl.Expr, *, identifies: bool = False) -> Rule:
    """What `characters` allows in `text`. No text column of Postgres can hold a NUL.

    Args:
        identifies: the text identifies a customer or a contact: invisible characters are rejected, so that two texts
            that differ also look different.
    """
    invisible = (
        " or, in what identifies a customer, an invisible character or a blank other than a space" if identifies else ""
    )
    if cell.field.characters == "any":
        wrong = text.str.contains(INSIDE_A_KEY) if identifies else text.str.contains("\x00", literal=True)
        return cell.rule("unsupported_character", f"a NUL character{invisible}", ~wrong.fill_null(False))
    return cell.rule(
        "unsupported_character",
        f"an emoji, a control character, a character beyond the Basic Multilingual Plane{invisible}",
        ~text.str.contains(f"[{UNSUPPORTED}{INSIDE_A_KEY}]" if identifies else UNSUPPORTED).fill_null(False),
    )


def length_rules(cell: Cell) -> Sequence[Rule]:
    """The field's own `max_length`, and the ceiling that holds without it."""
    length = cell.value.str.len_chars()
    rules = []
    if cell.field.max_length is not None:
        limit = cell.field.max_length
        rules.append(cell.rule("too_long", f"over {limit} characters", (length <= limit).fill_null(True)))
    if cell.field.type == "string" and (cell.field.max_length or LATIN_1_CEILING) > UNICODE_CEILING:
        long = pl.when((length > UNICODE_CEILING) & (length <= LATIN_1_CEILING)).then(cell.value)
        latin = ~long.str.contains(r"[^\x00-\xff]").fill_null(False)
        if cell.field.max_length is None:
            rules.append(
                cell.rule("too_long", f"over {LATIN_1_CEILING} characters", (length <= LATIN_1_CEILING).fill_null(True))
            )
        rules.append(
            cell.rule("too_long", f"over {UNICODE_CEILING} characters, and one of them is outside Latin-1", latin)
        )
    return rules


STRING = FieldKind(
    code="bad_string",
    dtype=lambda _: pl.String(),
    reason=lambda _: "not text",
    read=lambda cell, _: cell.raw,
    keeps_raw=True,
)

_DIGITS = "^[0-9]+$"


def _read_enum(cell: Cell, source: pl.DataType) -> pl.Expr:
    options = cell.field.options or ()
    by_name = {option: option for option in options if not (option.isascii() and option.isdigit())}
    by_index = {str(index): option for index, option in enumerate(options, start=1)}
    # `01` is the index 1 too: strip the zeros that a spreadsheet or a mainframe put in front.
    index = pl.when(cell.raw.str.contains(_DIGITS)).then(cell.raw.str.strip_chars_start("0"))
    word = pl.coalesce(index, cell.raw)
    return word.replace_strict(by_name | by_index, default=None, return_dtype=pl.String)


def _accepts_enum(cell: Cell) -> pl.Expr:
    return cell.value.is_not_null() | ~cell.given | cell.raw.str.contains("^0+$").fill_null(False)


ENUM = FieldKind(
    code="bad_enum",
    dtype=lambda _: pl.String(),
    reason=lambda cell: f"neither an option nor an index from 0 to {len(cell.field.options or ())}",
    read=_read_enum,
    accepts=_accepts_enum,
    keeps_raw=True,
    drops_zeros=True,
)
