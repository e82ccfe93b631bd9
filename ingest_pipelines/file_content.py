"""Recognises files that are not CSV text by their first bytes, and says what to do. Pure."""

from __future__ import annotations

import contextlib
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zipfile import ZipInfo

BOM = b"\xef\xbb\xbf"


def bytes_of_marks(head: bytes) -> int:
    """How many first bytes are byte order marks: programs that save a file after each other may write several."""
    marks = 0
    while head.startswith(BOM, marks):
        marks += len(BOM)
    return marks


_UTF8 = "save it as UTF-8 (CSV UTF-8)"
_EXPORT = "export it as CSV (UTF-8)"
_UNPACK = "unpack it, and deliver plain .csv, .csv.gz or .csv.zip"
_AGAIN = "this is not a table: upload the right file"
_ATTACHMENT = "save its attachment, and upload that"
_DECRYPT = "decrypt it before the upload"
_PLAIN = "upload the file itself, without the signature around it"
_WITH_KEY = (
    "write in the import's source: decrypt: {private_key: {file: /path/key.asc}}; for one encrypted with a passphrase: "
    "decrypt: {passphrase: {env: NAME}}"
)


@dataclass(frozen=True)
class Content:
    """The real kind of a file.

    Attributes:
        name: with its article, as in "the file is ...".
        advice: what to do.
    """

    name: str
    advice: str


_MARKS: tuple[tuple[bytes, str, str], ...] = (
    (b"\xff\xfe\0\0", "UTF-32, not UTF-8", _UTF8),
    (b"\0\0\xfe\xff", "UTF-32, not UTF-8", _UTF8),
    (b"\xff\xfe", "UTF-16, not UTF-8", _UTF8),
    (b"\xfe\xff", "UTF-16, not UTF-8", _UTF8),
    (b"+/v8", "UTF-7, not UTF-8", _UTF8),
    (b"+/v9", "UTF-7, not UTF-8", _UTF8),
    (b"+/v+", "UTF-7, not UTF-8", _UTF8),
    (b"+/v/", "UTF-7, not UTF-8", _UTF8),
    (b"\xdd\x73\x66\x73", "UTF-EBCDIC, not UTF-8", _UTF8),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file (.xls, .doc), or an encrypted one", _EXPORT),
    (b"\x09\x08\x10\0\0\x06", "an old Excel workbook (.xls)", _EXPORT),
    (b"\x09\x04\x06\0", "an old Excel workbook (.xls)", _EXPORT),
    (b"PAR1", "a Parquet file", _EXPORT),
    (b"PARE", "an encrypted Parquet file", _EXPORT),
    (b"Obj\x01", "an Avro file", _EXPORT),
    (b"ORC", "an ORC file", _EXPORT),
    (b"ARROW1", "an Arrow file", _EXPORT),
    (b"FEA1", "a Feather file", _EXPORT),
    (b"\xff\xff\xff\xff\x10\0\0\0", "an Arrow stream", _EXPORT),
    (b"SQLite format 3\0", "an SQLite database", _EXPORT),
    (b"\0\x01\0\0Standard Jet DB", "an Access database", _EXPORT),
    (b"\0\x01\0\0Standard ACE DB", "an Access database", _EXPORT),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", _EXPORT),
    (b"\x93NUMPY", "a NumPy file", _EXPORT),
    (b"$FL2@(#)", "an SPSS file", _EXPORT),
    (b"$FL3@(#)", "an SPSS file", _EXPORT),
    (b"<stata_dta>", "a Stata file", _EXPORT),
    (b"\x80\x04\x95", "a Python pickle", _EXPORT),
    (b"RDX", "an R data file", _EXPORT),
    (b"\0\0\0\0\0\0\0\0\0\0\0\0\xc2\xea\x81\x60", "a SAS file", _EXPORT),
    (b"PGDMP", "a dump of pg_dump", _EXPORT),
    (b"BZh", "bzip2 data", _UNPACK),
    (b"\xfd7zXZ\0", "xz data", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "Zstandard data", _UNPACK),
    (b"\x04\x22\x4d\x18", "LZ4 data", _UNPACK),
    (b"\xff\x06\0\0sNaPpY", "Snappy data", _UNPACK),
    (b"LZIP", "lzip data", _UNPACK),
    (b"\x1f\x9d", "data of compress (.Z)", _UNPACK),
    (b"\x1f\xa0", "data of compress (.Z)", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"MSCF\0\0\0\0", "a Cabinet archive", _UNPACK),
    (b"xar!", "a xar archive", _UNPACK),
    (b"%PDF-", "a PDF", _EXPORT),
    (b"%!PS", "a PostScript file", _EXPORT),
    (b"{\\rtf", "an RTF document", _EXPORT),
    (b"\x89PNG\r\n\x1a\n", "an image (PNG)", _AGAIN),
    (b"\xff\xd8\xff", "an image (JPEG)", _AGAIN),
    (b"GIF87a", "an image (GIF)", _AGAIN),
    (b"GIF89a", "an image (GIF)", _AGAIN),
    (b"II*\0", "an image (TIFF)", _AGAIN),
    (b"MM\0*", "an image (TIFF)", _AGAIN),
    (b"\0\0\x01\0", "an image (icon)", _AGAIN),
    (b"8BPS", "an image (Photoshop)", _AGAIN),
    (b"ID3\x03", "a sound (MP3)", _AGAIN),
    (b"ID3\x04", "a sound (MP3)", _AGAIN),
    (b"OggS", "a sound or video (Ogg)", _AGAIN),
    (b"\x1aE\xdf\xa3", "a video (Matroska)", _AGAIN),
    (b"\x7fELF", "a program", _AGAIN),
    (b"MZ\x90\0", "a program", _AGAIN),
    (b"\xca\xfe\xba\xbe", "a program", _AGAIN),
    (b"\xcf\xfa\xed\xfe", "a program", _AGAIN),
    (b"\0asm", "a program", _AGAIN),
    (b"L\0\0\0\x01\x14\x02\0", "a Windows shortcut", _AGAIN),
    (b"#!", "a script", _AGAIN),
    (b"age-encryption.org/", "encrypted with age", _DECRYPT),
    (b"Salted__", "encrypted by OpenSSL", _DECRYPT),
    (b"$ANSIBLE_VAULT", "an Ansible vault", _DECRYPT),
    (
        b"version https://git-lfs",
        "a pointer of Git LFS, not the file itself",
        "fetch it before the upload: git lfs pull",
    ),
    (b"-- MySQL dump", "an SQL dump", _EXPORT),
    (b"-- MariaDB dump", "an SQL dump", _EXPORT),
    (b"--\n-- PostgreSQL database dump", "an SQL dump", _EXPORT),
    (b"bplist00", "a property list", _AGAIN),
)
_LETTERS = frozenset(
    {b"PAR1", b"PARE", b"ORC", b"ARROW1", b"FEA1", b"RDX", b"PGDMP", b"BZh", b"LZIP", b"xar!", b"8BPS", b"OggS"}
)
"""Marks that a column's name may also begin with: if text follows, they do not count."""
_SHAPES: tuple[tuple[re.Pattern[bytes], str, str], ...] = tuple(
    (re.compile(shape, re.IGNORECASE | re.DOTALL), name, advice)
    for shape, name, advice in (
        (rb"RIFF.{4}WEBP", "an image (WebP)", _AGAIN),
        (rb"RIFF.{4}(?:WAVE|AVI )", "a sound or video", _AGAIN),
        (rb"BM.{4}\0\0\0\0", "an image (BMP)", _AGAIN),
        (rb"\0\0\0.ftyp", "an image or video (MP4, HEIC)", _AGAIN),
        (rb"[\x84\x85\x8c\xc1\xc3].{0,2}[\x03\x04]", "encrypted with OpenPGP", _WITH_KEY),
        (rb"-----BEGIN PGP MESSAGE", "an OpenPGP message", _WITH_KEY),
        (rb"-----BEGIN PGP SIGNED MESSAGE", "an OpenPGP message that is only signed", _PLAIN),
        (rb"-----BEGIN PGP ", "an OpenPGP key or signature", _AGAIN),
        (rb"-----BEGIN (?:PKCS7|CMS)-----", "encrypted or signed with S/MIME (PKCS #7)", _DECRYPT),
        (rb"-----BEGIN [A-Z0-9 ]+-----", "a certificate or a key (PEM)", _AGAIN),
        (rb".{257}ustar", "a tar archive", _UNPACK),
        (rb"\0{64}", "nothing but zero bytes: an incomplete upload", "upload the file again"),
        (rb"\s*<\?xml.{0,400}(?:urn:schemas-microsoft-com:office|<Workbook)", "an Excel workbook as XML", _EXPORT),
        (rb"\s*<\?xml", "XML", _EXPORT),
        (
            rb"\s*(?:<!--.{0,400}?-->\s*)?<(?:!doctype\s+html|html|head|body|table|meta|script|style|div)\b",
            "a web page (HTML): perhaps a login page, or an error",
            f"download the export itself, or {_EXPORT}",
        ),
        (rb"\s*<(?:!doctype|!--|svg\b|[a-z][\w:.-]*(?:\s+[\w:.-]+\s*=|\s*/?>(?!\s*,)))", "XML or HTML", _EXPORT),
        (
            rb'\s*(?:\{\s*"[^"\r\n]*"\s*:|\{\s*\}|\[\s*(?:\{\s*["}]|\[|\]|"[^"\r\n]*"\s*[,\]]|-?[0-9.]+\s*[,\]]))',
            "JSON",
            _EXPORT,
        ),
        (rb"\s*(?:CREATE TABLE|INSERT INTO|DROP TABLE|BEGIN TRANSACTION)\s", "SQL statements", _EXPORT),
        (rb"(?:MIME-Version|Received|Return-Path|Content-Type): ", "an e-mail", _ATTACHMENT),
        (rb"(?:(?:From|To|Subject|Date|Message-ID|Reply-To|Delivered-To): [^\r\n]*\r?\n){2}", "an e-mail", _ATTACHMENT),
        (
            rb"--[\w-]{8,}\r?\nContent-(?:Disposition|Type):",
            "an upload as a browser sends it (multipart)",
            "upload the file that is in it",
        ),
        (rb"(?:version: \d\s+)?dn::? [^\r\n]+\r?\n[a-z][\w;-]*::? ", "an LDIF file", _EXPORT),
        (rb"BEGIN:VCARD\s", "a vCard", _EXPORT),
        (rb"BEGIN:VCALENDAR\s", "a calendar (iCalendar)", _EXPORT),
    )
)
NO_TABLES = frozenset(
    {"an e-mail", "an upload as a browser sends it (multipart)", "an LDIF file", "a vCard", "a calendar (iCalendar)"}
)
"""Names of text that is no table, though some of its lines may look like one."""
_SEP = re.compile(rb"\"?sep=(.)\"?[ ,;\t|]*\r?(?:\n|\r|$)", re.IGNORECASE)
_IN_ZIP: tuple[tuple[str, str], ...] = (
    ("xl/", "an Excel workbook (.xlsx)"), ("word/", "a Word document (.docx)"), ("ppt/", "a PowerPoint file (.pptx)"),
    ("Index/", "an Apple Numbers or Pages file"), ("Index.zip", "an Apple Numbers or Pages file"),
    ("META-INF/MANIFEST.MF", "a Java archive"), ("content.xml", "an OpenDocument file (.ods, .odt)"),
    ("[Content_Types].xml", "an Office file (.xlsx, .docx)"), ("mimetype", "an OpenDocument file (.ods, .odt)"),
)  # fmt: skip


_WINDOWS_OWN = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini"})
_MACOS_OWN = frozenset({"__macosx", ".trashes", ".spotlight-v100", ".fseventsd"})


def content_of(head: bytes, name: str = "") -> Content | None:
    """The kind of file, or None if it may be CSV text.

    Args:
        head: the file's first bytes; a few kilobytes suffice.
        name: the file's name. If it ends in .gz or .zip, `head` is the decompressed content.
    """
    text = head[bytes_of_marks(head) :]
    if head.startswith(b"\x1f\x8b"):
        again = "compress it once" if name.lower().endswith((".gz", ".zip")) else "let its name end in .csv.gz"
        return Content("gzip data", again)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return _zip(head, name)
    plain = _is_text(text[:1024])
    for mark, what, advice in _MARKS:
        if text.startswith(mark) and not (plain and mark in _LETTERS):
            return Content(what, advice)
    for shape, what, advice in _SHAPES:
        if shape.match(text):
            return Content(what, advice)
    if sep := _SEP.match(text):
        sign = sep[1].decode("latin-1")
        commas = "" if sign == "," else ", and export the file with commas"
        return Content(f"CSV with a first line 'sep={sign}', which only Excel reads", f"remove that line{commas}")
    return _wide(head[:1024])


def _is_text(head: bytes) -> bool:
    """Whether this is UTF-8 without control characters; the last character may be cut."""
    if re.search(rb"[\0-\x08\x0e-\x1f]", head):
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.end == len(head) and error.start >= len(head) - 3
    return True


def office_file(members: list[str]) -> str:
    """The kind of document that a zip archive of these files is, or "" if it is just an archive."""
    return next((what for mark, what in _IN_ZIP if any(member.startswith(mark) for member in members)), "")


def _zip(head: bytes, name: str) -> Content:
    """A zip archive, or one of the many document formats that are zip archives inside."""
    members = [
        name_bytes.decode("utf-8", "replace")
        for name_bytes in re.findall(rb"PK\x03\x04.{22}(?:..)(?:..)([ -~]{1,200})", head, re.DOTALL)
    ]
    if office := office_file(members):
        return Content(office, _EXPORT)
    again = "compress it once" if name.lower().endswith((".gz", ".zip")) else "let its name end in .csv.zip"
    return Content("a zip archive", again)


def _wide(head: bytes) -> Content | None:
    """UTF-16 or UTF-32 without a byte order mark. Zeros behind the text or in a row fill a block."""
    text = head.rstrip(b"\0")
    zeros = text.count(b"\0")
    if zeros * 4 <= len(text) or not text or b"\0" * 8 in text:
        return None
    if zeros * 8 > len(text) * 5:
        return Content("UTF-32, not UTF-8", _UTF8)
    return Content("UTF-16, not UTF-8", _UTF8)


def name_in_zip(file: ZipInfo) -> str:
    """The file's name. macOS writes it as UTF-8 without saying so, and each accent as a letter of its own."""
    name = file.filename
    if not file.flag_bits & 0x800:  # the names are in UTF-8
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return unicodedata.normalize("NFC", name)


def is_litter(name: str) -> bool:
    """Whether a file in an archive was added by macOS, Windows or Office, not by the sender."""
    *folders, last = name.replace("\\", "/").casefold().split("/")
    hidden = last.startswith(("._", "~$", ".ds_store", ".localized")) or last in _WINDOWS_OWN
    return hidden or any(folder in _MACOS_OWN for folder in folders)
