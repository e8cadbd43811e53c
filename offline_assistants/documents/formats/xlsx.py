"""Excel workbooks (.xlsx): sheet by sheet, row by row, each value with the header of its column. Values are those that Excel computed and saved.

Read cell by cell from the XML, so that a sheet whose only cell is in the last corner costs what one cell costs. Dates are numbers there; which numbers are
dates is said by their format (ECMA-376 part 1, 18.8.30).
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import datetime, timedelta

from offline_assistants.documents.formats.document_writer import DocumentWriter
from offline_assistants.documents.formats.tables import write_records
from offline_assistants.documents.formats.zipped_xml import ZippedXml, child, children, descendants, local_name
from offline_assistants.ports import ParsedDocument

_DATE_FORMATS = frozenset({*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)})
_PERCENT_FORMATS = frozenset({9, 10})
_NOT_OF_A_PATTERN = re.compile(r'"[^"]*"|\\.|_.|\*.|\[[^\]]*\]')
"""What a number format shows as it stands, and its colours and conditions."""
_MAX_COLUMNS = 16_384
_COLUMN = re.compile(r"[A-Z]{1,3}")


def parse_xlsx(content: bytes, max_text_chars: int) -> ParsedDocument:
    with ZippedXml(content, kind="an Excel workbook (.xlsx)") as archive:
        return _Workbook(archive).write(DocumentWriter(max_text_chars))


class _Workbook:
    def __init__(self, archive: ZippedXml) -> None:
        self._archive = archive
        self._main = archive.main_part()
        self._root = archive.xml(self._main)
        properties = child(self._root, "workbookPr")
        counts_from_1904 = properties is not None and properties.get("date1904") in {"1", "true"}
        self._first_day = datetime(1904, 1, 1) if counts_from_1904 else datetime(1899, 12, 30)  # noqa: DTZ001  a sheet knows no time zones
        strings = archive.related(self._main, "sharedStrings")
        self._strings = [_text(item) for item in archive.elements(strings, "si")] if strings else []
        styles = archive.related(self._main, "styles")
        self._formats = _read_formats(archive.xml(styles)) if styles else []

    def write(self, writer: DocumentWriter) -> ParsedDocument:
        leads_to = self._archive.relationships(self._main)
        for number, sheet in enumerate(descendants(self._root, "sheet"), start=1):
            link = next((value for key, value in sheet.attrib.items() if key.endswith("}id")), "")
            if link in leads_to and leads_to[link].kind == "worksheet" and leads_to[link].target in self._archive:
                writer.page(number)
                writer.heading(1, sheet.get("name") or f"Sheet {number}")
                write_records(self._rows(leads_to[link].target), writer)
        return writer.finish()

    def _rows(self, part: str) -> Iterator[list[str]]:
        for row in self._archive.elements(part, "row"):
            values: list[str] = []
            for cell in children(row, "c"):
                column = _column(cell.get("r", ""), otherwise=len(values))
                values.extend([""] * (column - len(values)))
                values[column:] = [self._value(cell)]
            yield values

    def _value(self, cell: ET.Element) -> str:
        found = child(cell, "v")
        raw = "" if found is None else found.text or ""
        match cell.get("t", "n"):
            case "s":
                return self._strings[int(raw)] if raw.isdecimal() and int(raw) < len(self._strings) else ""
            case "inlineStr":
                return _text(cell)
            case "b":
                return "TRUE" if raw == "1" else "FALSE"
            case "n":
                style = cell.get("s", "0")
                return self._number(raw, self._formats[int(style)] if style.isdecimal() and int(style) < len(self._formats) else "")
            case _:
                return raw

    def _number(self, raw: str, kind: str) -> str:
        try:
            number = float(raw)
            if kind == "date":
                return _date(self._first_day, number)
            return f"{number * 100:.12g}%" if kind == "percent" else f"{number:.15g}"
        except (ValueError, OverflowError):
            return raw


def _read_formats(styles: ET.Element) -> list[str]:
    """Of each cell style: "date", "percent" or ""."""
    patterns = {each.get("numFmtId", ""): each.get("formatCode", "") for each in descendants(styles, "numFmt")}
    cell_styles = child(styles, "cellXfs")
    return [] if cell_styles is None else [_kind_of(each.get("numFmtId", "0"), patterns) for each in children(cell_styles, "xf")]


def _kind_of(number: str, patterns: dict[str, str]) -> str:
    if number in patterns:
        pattern = _NOT_OF_A_PATTERN.sub("", patterns[number]).lower()
        return "percent" if "%" in pattern else "date" if re.search("[ymdhs]", pattern) and "general" not in pattern else ""
    known = int(number) if number.isdecimal() else 0
    return "date" if known in _DATE_FORMATS else "percent" if known in _PERCENT_FORMATS else ""


def _date(first_day: datetime, number: float) -> str:
    moment = first_day + timedelta(seconds=round(number * 86_400))
    if 0 <= number < 1:
        return moment.strftime("%H:%M:%S").removesuffix(":00")
    shown = moment.isoformat(sep=" ")
    return shown.removesuffix(" 00:00:00")


def _column(reference: str, *, otherwise: int) -> int:
    """From 0: "A1" is 0, "AA7" is 26."""
    letters = _COLUMN.match(reference)
    if letters is None:
        return min(otherwise, _MAX_COLUMNS - 1)
    column = 0
    for letter in letters[0]:
        column = column * 26 + ord(letter) - ord("A") + 1
    return min(column, _MAX_COLUMNS) - 1


def _text(element: ET.Element) -> str:
    """Of a string with its differently formatted runs; without what only tells how to pronounce it."""
    parts: list[str] = []
    for part in element:
        match local_name(part.tag):
            case "t":
                parts.append(part.text or "")
            case "r" | "is":
                parts.append(_text(part))
            case _:
                pass
    return "".join(parts)
