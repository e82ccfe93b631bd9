"""Small Excel workbooks, written by hand: their XML is what a spreadsheet saves."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

Cell = str | int | float | bool | None | tuple[str, str]
"""A text, a number, a truth value, nothing, or (style, number): `date` or `moment`."""

_STYLES = {"date": 1, "moment": 2, "clock": 3}


def workbook(
    rows: Sequence[Sequence[Cell]],
    *others: Sequence[Sequence[Cell]],
    error: Mapping[str, str] = {},
    formula: Mapping[str, str] = {},
    to_calculate: bool = False,
    beyond: str = "",
    merged: Sequence[str] = (),
    hidden: Sequence[int] = (),
    since_1904: bool = False,
) -> bytes:
    """A workbook whose first sheet, `Sheet1`, has these rows; the others follow as `Sheet2` ...

    Args:
        error: cells of the first sheet that hold an error, such as `{"B2": "#N/A"}`.
        formula: cells of the first sheet that hold a formula, as the XML of the cell without its place.
        to_calculate: the program that wrote the workbook wants it to be calculated when it is opened.
        beyond: the XML of more rows of the first sheet.
        merged: ranges of the first sheet that are one cell each, such as `A2:A4`.
        hidden: numbers of sheets that nobody sees.
        since_1904: day 0 is 1 January 1904, as on a Macintosh.
    """
    out = io.BytesIO()
    sheets = [rows, *others]
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        names = [f"Sheet{number}" for number in range(1, len(sheets) + 1)]
        archive.writestr(
            "[Content_Types].xml",
            '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            '<Default Extension="xml" ContentType="application/xml"/></Types>',
        )
        archive.writestr("_rels/.rels", _relations([("officeDocument", "xl/workbook.xml")]))
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook {_MAIN} xmlns:r="{_OFFICE}">{_SINCE_1904 if since_1904 else ""}<sheets>'
            + "".join(
                f'<sheet name="{name}" sheetId="{n}"{_HIDDEN if n in hidden else ""} r:id="rId{n}"/>'
                for n, name in enumerate(names, 1)
            )
            + f"</sheets>{_TO_CALCULATE if to_calculate else ''}</workbook>",
        )
        links = [("worksheet", f"worksheets/sheet{number}.xml") for number in range(1, len(sheets) + 1)]
        archive.writestr("xl/_rels/workbook.xml.rels", _relations([*links, ("styles", "styles.xml")]))
        formats = (0, 14, 22, 21)
        archive.writestr(
            "xl/styles.xml",
            f"<styleSheet {_MAIN}><cellXfs>"
            + "".join(f'<xf numFmtId="{number}" applyNumberFormat="1"/>' for number in formats)
            + "</cellXfs></styleSheet>",
        )
        for number, sheet in enumerate(sheets, 1):
            archive.writestr(
                f"xl/worksheets/sheet{number}.xml",
                _sheet(sheet, {**error, **formula}, merged, beyond) if number == 1 else _sheet(sheet, {}),
            )
    return out.getvalue()


_TO_CALCULATE = '<calcPr calcId="1" fullCalcOnLoad="1"/>'
_SINCE_1904 = '<workbookPr date1904="1"/>'
_HIDDEN = ' state="hidden"'
_MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def _relations(targets: Sequence[tuple[str, str]]) -> str:
    return (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        + "".join(
            f'<Relationship Id="rId{number}" Type="{_OFFICE}/{kind}" Target="{target}"/>'
            for number, (kind, target) in enumerate(targets, 1)
        )
        + "</Relationships>"
    )


def _sheet(
    rows: Sequence[Sequence[Cell]], error: Mapping[str, str], merged: Sequence[str] = (), beyond: str = ""
) -> str:
    written = []
    for number, row in enumerate(rows, 1):
        cells = []
        for place, cell in enumerate(row):
            name = f"{_letters(place)}{number}"
            if name in error:
                cells.append(
                    error[name].replace("<c", f'<c r="{name}"', 1)
                    if error[name].startswith("<c")
                    else f'<c r="{name}" t="e"><v>{error[name]}</v></c>'
                )
            elif cell is not None:
                cells.append(_cell(name, cell))
        written.append(f'<row r="{number}">{"".join(cells)}</row>')
    ranges = "".join(f'<mergeCell ref="{cells}"/>' for cells in merged)
    merges = f'<mergeCells count="{len(merged)}">{ranges}</mergeCells>' if merged else ""
    return f"<worksheet {_MAIN}><sheetData>{''.join(written)}{beyond}</sheetData>{merges}</worksheet>"


def _letters(place: int) -> str:
    return (_letters(place // 26 - 1) if place >= 26 else "") + chr(ord("A") + place % 26)


def _cell(name: str, cell: Cell) -> str:
    if isinstance(cell, tuple):
        return f'<c r="{name}" s="{_STYLES[cell[0]]}"><v>{cell[1]}</v></c>'
    if isinstance(cell, bool):
        return f'<c r="{name}" t="b"><v>{int(cell)}</v></c>'
    if isinstance(cell, (int, float)):
        return f'<c r="{name}"><v>{cell!r}</v></c>'
    return f'<c r="{name}" t="inlineStr"><is><t xml:space="preserve">{escape(str(cell))}</t></is></c>'
