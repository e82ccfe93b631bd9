"""Blank and invisible characters. Pure."""

from __future__ import annotations

_RANGES = (
    (0x09, 0x0D), (0x20, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C),
    (0x115F, 0x1160), (0x1680, 0x1680), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2000, 0x200F), (0x2028, 0x202F),
    (0x205F, 0x206F), (0x2800, 0x2800), (0x3000, 0x3000), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip

BLANKS = "".join(chr(code) for first, last in _RANGES if first < 0xE0000 for code in range(first, last + 1))
"""Unicode's White_Space and Default_Ignorable_Code_Point but the tags beyond U+E0000, and the blank of Braille."""

CLASS = "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in _RANGES)
"""All of them, as the inside of a set in a regular expression of the engine that validates rows."""

INSIDE_A_KEY = r"[\p{C}\p{Z}\p{Default_Ignorable_Code_Point}\x{2800}\x{fffc}\x{fffd}&&[^ ]]"
"""What no key holds, by Unicode's categories but for the plain space: controls, formats, private and unused code points
(C), separators (Z), all that is ignored by default; the blank of Braille; the signs for a lost object or letter."""


def trimmed(text: str) -> str:
    """The text without blanks and invisible characters at its ends."""
    return text.strip(BLANKS)
