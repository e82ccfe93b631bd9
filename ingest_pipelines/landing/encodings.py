"""The encodings that the bytes of a text may have. Pure."""

from __future__ import annotations

import codecs
import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from itertools import islice

from ingest_pipelines.file_content import bytes_of_marks

OTHERS = (
    "cp1252", "iso8859-15", "cp1250", "cp1251", "cp1254", "cp1253", "cp1257", "mac_roman", "cp850", "cp437", "koi8-r",
    "shift_jis", "cp932", "euc_kr", "cp949", "johab", "euc_jp", "gb18030", "big5", "cp1255", "cp1256", "cp874", "cp037",
    "cp500",
)  # fmt: skip
"""Encodings of text that is not UTF-8, the usual ones first."""

_COMMON = {
    "shift_jis": (0x81, 0x97), "cp932": (0x81, 0x97), "euc_kr": (0xA1, 0xC8), "cp949": (0xA1, 0xC8),
    "johab": (0x88, 0xD3), "euc_jp": (0xA1, 0xCF), "gb18030": (0xA1, 0xD7), "big5": (0xA1, 0xC6),
}  # fmt: skip
"""First bytes of the characters that are in common use, by encoding; all standards list the rare ones behind them."""

_SIGNS_IN_CODE = frozenset("{}[]\\^`~@")
"""Signs of ASCII that are rare beside signs beyond it, and frequent as second bytes of other encodings' letters."""

_JAPANESE = frozenset({"shift_jis", "cp932", "euc_jp"})

_WORD = re.compile(r"[^\s,;|\"]+")

_BETWEEN_SIGNS = re.compile(r"[^\s,;|\"¦§]+")
"""A word, where the signs that separate cells are none of it."""

MOST_WORDS = 1_000
"""Words that are looked at."""

SHOWN = 3
"""Words that a preview shows."""


@dataclass(frozen=True)
class Decoded:
    """A text in one of its possible encodings.

    Attributes:
        encoding: "": the default, UTF-8.
        text: without byte order mark; a character that the sample's end cuts through is left out.
    """

    encoding: str
    text: str

    @property
    def preview(self) -> str:
        """The first words beyond ASCII, as they read in this encoding."""
        words = dict.fromkeys(word for word in _WORD.findall(self.text) if not word.isascii())
        return " ".join(list(words)[:SHOWN])


@cache
def is_ebcdic(encoding: str) -> bool:
    """Whether the encoding is one of mainframes, whose lines may end in NEL, U+0085."""
    try:
        return b"\x15\x25".decode(encoding) == "\x85\n"
    except UnicodeError:
        return False


def with_line_feeds(text: str, encoding: str) -> str:
    """The text with the line ends of its encoding as line feeds."""
    return text.replace("\x85", "\n") if is_ebcdic(encoding) else text


def is_modified_utf8(content: bytes) -> bool:
    """Whether the bytes are UTF-8 but for halves of characters and zeros of two bytes, as Java and old databases write.

    A character that the end cuts through does not count.
    """
    if not _MODIFIED.search(content):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")("surrogatepass").decode(content.replace(b"\xc0\x80", b"\0"))
    except UnicodeDecodeError:
        return False
    return True


_MODIFIED = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]|\xc0\x80")


def encodings(content: bytes, *, whole: bool) -> list[Decoded]:
    """Every encoding in which the bytes are text, each with another text; the likeliest first. Empty: they are none.

    A byte order mark, zero bytes and valid UTF-8 leave no doubt. Any other text is text in several encodings.
    """
    if content.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return _decoded(content, ("utf-32",), whole=whole)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _decoded(content, ("utf-16",), whole=whole)
    zeros = content.count(b"\0")
    if zeros * 8 > len(content) * 5:
        return _decoded(content, ("utf-32-le" if content[:1] != b"\0" else "utf-32-be",), whole=whole)
    if zeros * 4 > len(content):
        odd = content[1::2].count(b"\0") * 2 >= zeros
        return _decoded(content, ("utf-16-le" if odd else "utf-16-be",), whole=whole)
    if unicode := _decoded(content[bytes_of_marks(content) :], ("utf-8",), whole=whole):
        return [Decoded("", unicode[0].text)]
    if is_modified_utf8(content):
        return []
    found = [decoded for decoded in _decoded(content, OTHERS, whole=whole) if not _has_controls(decoded.text)]
    by_text = {decoded.text: decoded for decoded in reversed(found)}
    return sorted(by_text.values(), key=lambda decoded: (_oddities(decoded), OTHERS.index(decoded.encoding)))


def plausible(content: bytes) -> list[str]:
    """Encodings in which the text is as much like writing as in the likeliest one: a person sees which is right."""
    found = encodings(content, whole=False)
    odd = [_oddities(decoded) for decoded in found]
    return [decoded.encoding for decoded, oddities in zip(found, odd, strict=True) if oddities == odd[0]]


def _decoded(content: bytes, names: tuple[str, ...], *, whole: bool) -> list[Decoded]:
    texts = []
    for name in names:
        try:
            text = codecs.getincrementaldecoder(name)().decode(content, final=whole)
        except UnicodeError:
            continue
        texts.append(Decoded(name, with_line_feeds(text.removeprefix("\ufeff"), name)))
    return texts


def _has_controls(text: str) -> bool:
    """Whether it has characters that no text has: the encoding is another one."""
    beyond = {letter for letter in text if letter > "\x7e" or (letter < " " and letter not in "\t\r\n\f\v")}
    return any(unicodedata.category(letter) in {"Cc", "Co", "Cn"} for letter in beyond)


def _oddities(decoded: Decoded) -> int:
    """How unlike writing the text is: signs inside words, words of two scripts or of accents, rare characters."""
    odd = 0
    common = _COMMON.get(decoded.encoding)
    words = (match[0] for match in _BETWEEN_SIGNS.finditer(decoded.text) if not match[0].isascii())
    for word in islice(words, MOST_WORDS):
        letters = [letter for letter in word if letter.isalpha()]
        scripts = {_script(letter) for letter in letters}
        odd += 3 * (len(scripts) - 1) if scripts else 1
        accents = [letter for letter in letters if not letter.isascii() and _script(letter) == "LATIN"]
        odd += 3 * (len(accents) > 2 and len(accents) * 2 > len(letters))
        for before, letter, behind in zip(f" {word[:-1]}", word, f"{word[1:]} ", strict=True):
            if letter.isascii():
                continue
            if unicodedata.category(letter) == "Mn":  # a vowel of Thai, Hebrew or Arabic, or an accent
                odd += 3 * (not before.isalpha() and unicodedata.category(before) != "Mn")
                continue
            odd += 3 * (letter == "ς" and behind.isalpha())
            odd += 3 * (unicodedata.category(letter) in {"Nd", "Sc"} and (before.isalpha() or behind.isalpha()))
            odd += "\u3040" <= letter <= "\u30ff" and decoded.encoding not in _JAPANESE
            odd += "\u3130" <= letter <= "\u318f"  # parts of Korean syllables
            odd += 3 * (not letter.isalpha() and before.isalpha() and behind.isalpha())
            odd += not letter.isalpha() and not _SIGNS_IN_CODE.isdisjoint((before, behind))
            odd += unicodedata.category(letter) in {"So", "Sk", "Sm"}
            odd += letter.isupper() and before.islower()
            odd += "\uff61" <= letter <= "\uff9f"  # half-width letters, which other encodings' letters look like
            if common is not None and len(code := letter.encode(decoded.encoding)) > 1:
                odd += not common[0] <= code[0] <= common[1]
    return odd


_WITH_HAN = frozenset({"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC"})
"""Scripts that Japanese mixes with Han characters in one word."""


def _script(letter: str) -> str:
    script = unicodedata.name(letter, "?").split()[0]
    return "CJK" if script in _WITH_HAN else script
