"""What an import does to a column's cells before they are cast and validated: declared, in a closed set of words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, StrictStr, model_validator

from ingest_pipelines.config.base import Secret, Strict
from ingest_pipelines.config.blanks import trimmed

CleanWord = Literal["trim", "collapse", "lower", "upper", "digits", "strip_unsupported", "cut"]
WORDS: tuple[CleanWord, ...] = get_args(CleanWord)

CLEANING: Mapping[str, tuple[str, str, str]] = {
    "trim": ("counts blanks at both ends, which are left out anyway", "' Ann '", "'Ann'"),
    "collapse": ("any blanks inside become one space", "'Ann  Lee'", "'Ann Lee'"),
    "lower": ("small letters", "'Ann@Example.com'", "'ann@example.com'"),
    "upper": ("capital letters", "'sw1a 1aa'", "'SW1A 1AA'"),
    "digits": ("only the digits 0 to 9 stay", "'+44 (0)20-7946'", "'440207946'"),
    "strip_unsupported": ("characters that the field does not accept are removed", "'Ann \U0001f600'", "'Ann'"),
    "cut": ("characters beyond the field's length are removed", "'Annabella', max_length: 3", "'Ann'"),
    "map": ("a cell that is one of the keys becomes its value", "'gold', map: {gold: Gold}", "'Gold'"),
    "default": ("an empty cell becomes this", "'', default: Bronze", "'Bronze'"),
    "hash": ("the SHA-256 of salt and cell, in 64 hexadecimal digits", "'ann', hash: {sha256, salt: ...}", "'9f1c...'"),
}
"""Word of `clean`, or key -> what it does, a cell before, and the cell after it."""

HASH_LENGTH = 64


def _text(value: Any) -> Any:
    """`true` and `7` as YAML has them, as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else value


Text = Annotated[StrictStr, BeforeValidator(_text)]


class Hash(Strict):
    """A one-way hash in the cell's place.

    Attributes:
        sha256: the algorithm; written alone, as in `{sha256, salt: {env: SALT}}`.
        salt: text in front of the cell. Without it anyone who guesses the cell can prove the guess.
    """

    sha256: None
    salt: Secret | None = None


class Cleaning(Strict):
    """How a column's cells are cleaned, in this order: clean, map, default, hash.

    Attributes:
        clean: words, in their order.
        map: cell -> what it becomes; "" makes it empty. Other cells stay.
        default: the text of empty cells.
        constant: the text of every row, in place of a column.
    """

    clean: tuple[CleanWord, ...] = ()
    map: dict[StrictStr, Text] = Field(default_factory=dict)
    default: Text | None = None
    constant: Text | None = None
    hash: Hash | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        for word in self.clean:
            if self.clean.count(word) > 1:
                raise ValueError(f"clean has '{word}' twice")
        if {"lower", "upper"} <= set(self.clean):
            raise ValueError("clean: lower and upper undo each other; write one of them")
        for text in self.map:
            if text != trimmed(text) or not text:
                raise ValueError(f"map: no cell is '{text}': blanks at its ends are left out; for empty cells: default")
        for key in ("default", "constant"):
            text = getattr(self, key)
            if text is not None and (text != trimmed(text) or not text):
                raise ValueError(f"{key}: '{text}' is empty, or begins or ends with a blank")
        if self.constant is not None and self.cleans:
            raise ValueError("constant: is the text of every row, so it goes with no clean, map, default or hash")
        return self

    @property
    def cleans(self) -> bool:
        """Whether cells are changed."""
        return bool(self.clean or self.map) or self.default is not None or self.hash is not None

    @property
    def words(self) -> tuple[str, ...]:
        """Words and keys in the order in which they are applied."""
        keys = (("map", bool(self.map)), ("default", self.default is not None), ("hash", self.hash is not None))
        return (*self.clean, *(key for key, given in keys if given))


NO_CLEANING = Cleaning()
