"""Word documents (.docx): paragraphs, headings by their styles, lists with the numbers that Word shows, tables row by row, footnotes, text boxes.

Read from the XML itself: what is in content controls, text boxes and accepted insertions is text like any other, and what was deleted is not.
Pages are those that Word noted when it saved the file; other programs note none.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass

from offline_assistants.documents.formats.document_writer import DocumentWriter
from offline_assistants.documents.formats.docx_numbering import Numbering
from offline_assistants.documents.formats.zipped_xml import ZippedXml, attribute, child, children, descendants, local_name
from offline_assistants.ports import ParsedDocument

_WRAPPERS = frozenset("sdt sdtContent customXml ins moveTo smartTag hyperlink fldSimple r dir bdo AlternateContent Choice".split())  # noqa: SIM905
"""What stands around text and is none itself. Of AlternateContent the first choice is read; Fallback repeats it."""
_CHARACTERS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_TABLE = frozenset({"tbl", "tr", "tc"})
_NOTES = (("footnotes", "footnote"), ("endnotes", "endnote"))
_NORMAL_LEVEL = 9
"""Word's outline level of what is no heading."""


@dataclass(frozen=True, slots=True)
class _Style:
    level: int | None
    """Of a heading, from 1; 0 for the title."""
    numbering: ET.Element | None
    is_contents: bool
    """An entry of the table of contents, which says nothing that the headings do not."""


def parse_docx(content: bytes, max_text_chars: int) -> ParsedDocument:
    with ZippedXml(content, kind="a Word document (.docx)") as archive:
        return _Reader(archive, max_text_chars).read()


class _Reader:
    def __init__(self, archive: ZippedXml, max_text_chars: int) -> None:
        self._archive = archive
        self._main = archive.main_part()
        styles = archive.related(self._main, "styles")
        self._styles = _read_styles(archive.xml(styles)) if styles else {}
        numbering = archive.related(self._main, "numbering")
        self._numbering = Numbering(archive.xml(numbering) if numbering else None)
        self._writer = DocumentWriter(max_text_chars)
        self._num_page_breaks = 0
        self._was_in_list = False
        self._note_numbers: dict[tuple[str, str | None], int] = {}

    def read(self) -> ParsedDocument:
        root = self._archive.xml(self._main)
        body = child(root, "body")
        if body is None:
            raise self._archive.damaged()
        if next(descendants(body, "lastRenderedPageBreak"), None) is not None:
            self._writer.page(1)
        self._blocks(body)
        for kind, name in _NOTES:
            self._notes(kind, name)
        return self._writer.finish()

    def _blocks(self, container: ET.Element) -> None:
        for block in container:
            match local_name(block.tag):
                case "p":
                    self._paragraph(block)
                case "tbl":
                    self._table(block)
                case name if name in _WRAPPERS:
                    self._blocks(block)
                case _:
                    pass

    def _paragraph(self, paragraph: ET.Element) -> None:
        style = self._style_of(paragraph)
        boxes: list[ET.Element] = []
        text = "".join(self._inline(paragraph, boxes)).strip()
        if style.is_contents:
            return
        label = self._numbering.label(paragraph, style.numbering) if text else ""
        text = f"{label} {text}" if label else text
        if style.level is not None:
            self._writer.heading(style.level, text)
        elif label and self._was_in_list:
            self._writer.line(text)
        else:
            self._writer.paragraph(text)
        self._was_in_list = bool(label) and style.level is None
        for box in boxes:
            self._blocks(box)

    def _style_of(self, paragraph: ET.Element) -> _Style:
        properties = child(paragraph, "pPr")
        style = self._styles.get(_value(child(properties, "pStyle")) or "", _Style(None, None, is_contents=False))
        if own := _value(child(properties, "outlineLvl")):
            return _Style(_level(own), style.numbering, style.is_contents)
        return style

    def _inline(self, element: ET.Element, boxes: list[ET.Element]) -> Iterator[str]:
        for part in element:
            match local_name(part.tag):
                case "t":
                    yield part.text or ""
                case "lastRenderedPageBreak":
                    self._num_page_breaks += 1
                    self._writer.page(1 + self._num_page_breaks)
                case "footnoteReference" | "endnoteReference":
                    yield f"[{self._note_number(local_name(part.tag), attribute(part, 'id'))}]"
                case "drawing" | "pict" | "object":
                    boxes.extend(descendants(part, "txbxContent"))
                case name if name in _CHARACTERS:
                    yield _CHARACTERS[name]
                case name if name in _WRAPPERS:
                    yield from self._inline(part, boxes)
                case _:
                    pass

    def _table(self, table: ET.Element) -> None:
        is_first = True
        for row in _inside(table, "tr"):
            cells = [self._cell(cell) for cell in _inside(row, "tc")]
            self._writer.row(cells, is_first=is_first)
            is_first = is_first and not any(cells)
        self._was_in_list = False

    def _cell(self, cell: ET.Element) -> str:
        return " ".join("".join(self._inline(paragraph, [])) for paragraph in _paragraphs_in(cell))

    def _notes(self, kind: str, name: str) -> None:
        part = self._archive.related(self._main, kind)
        if part is None:
            return
        for note in children(self._archive.xml(part), name):
            number = self._note_numbers.get((name, attribute(note, "id")))
            if number is not None:
                text = " ".join("".join(self._inline(paragraph, [])).strip() for paragraph in _paragraphs_in(note))
                self._writer.paragraph(f"[{number}] {text}")

    def _note_number(self, reference: str, note_id: str | None) -> int:
        """Notes are numbered in the order in which the text refers to them; their ids are not what Word shows."""
        return self._note_numbers.setdefault((reference.removesuffix("Reference"), note_id), len(self._note_numbers) + 1)


def _paragraphs_in(container: ET.Element) -> Iterator[ET.Element]:
    """Those of a cell or a note, also of tables inside."""
    for part in container:
        if local_name(part.tag) == "p":
            yield part
        elif local_name(part.tag) in _WRAPPERS or local_name(part.tag) in _TABLE:
            yield from _paragraphs_in(part)


def _inside(element: ET.Element, name: str) -> Iterator[ET.Element]:
    """Rows of a table, cells of a row: also those in content controls, but none of a table inside."""
    for part in element:
        if local_name(part.tag) == name:
            yield part
        elif local_name(part.tag) in _WRAPPERS:
            yield from _inside(part, name)


def _read_styles(root: ET.Element) -> dict[str, _Style]:
    elements = {attribute(style, "styleId") or "": style for style in children(root, "style")}
    return {style_id: _read_style(style, elements) for style_id, style in elements.items()}


def _read_style(style: ET.Element, elements: dict[str, ET.Element]) -> _Style:
    """With what it inherits from the styles that it is based on."""
    name = (_value(child(style, "name")) or "").lower()
    level: int | None = 0 if name == "title" else None
    numbering: ET.Element | None = None
    is_known = name == "title"
    seen: set[str] = set()
    current: ET.Element | None = style
    while current is not None:
        properties = child(current, "pPr")
        if not is_known and (found := _value(child(properties, "outlineLvl"))) is not None:
            level, is_known = _level(found), True
        if numbering is None:
            numbering = child(properties, "numPr")
        based_on = _value(child(current, "basedOn")) or ""
        current = None if based_on in seen else elements.get(based_on)
        seen.add(based_on)
    if not is_known and name.startswith("heading ") and name[8:].isdecimal():
        level = int(name[8:])
    return _Style(level, numbering, is_contents=name.startswith("toc ") and name != "toc heading")


def _level(outline_level: str) -> int | None:
    level = int(outline_level) if outline_level.isdecimal() else _NORMAL_LEVEL
    return level + 1 if level < _NORMAL_LEVEL else None


def _value(element: ET.Element | None) -> str | None:
    return None if element is None else attribute(element, "val")
