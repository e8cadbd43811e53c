"""OpenDocument texts (.odt), as LibreOffice writes them: headings by their levels, lists, tables row by row, footnotes, text boxes."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from offline_assistants.documents.formats.document_writer import DocumentWriter
from offline_assistants.documents.formats.zipped_xml import ZippedXml, attribute, child, children, descendants, local_name
from offline_assistants.ports import ParsedDocument

_WRAPPERS = frozenset({"section", "list-header", "index-body", "numbered-paragraph", "text-box", "frame", "a", "g"})
_LEFT_OUT = frozenset({"annotation", "annotation-end", "tracked-changes", "table-of-content", "note", "ruby-text", "frame", "custom-shape"})
_MAX_SPACES = 100


def parse_odt(content: bytes, max_text_chars: int) -> ParsedDocument:
    with ZippedXml(content, kind="an OpenDocument text (.odt)") as archive:
        if "META-INF/manifest.xml" in archive and b"encryption-data" in archive.read("META-INF/manifest.xml"):
            raise archive.protected()
        body = child(archive.xml("content.xml"), "body", "text")
        if body is None:
            raise archive.damaged()
        writer = DocumentWriter(max_text_chars)
        _blocks(body, writer)
        for note in descendants(body, "note"):
            citation, content_of_note = child(note, "note-citation"), child(note, "note-body")
            if content_of_note is not None:
                label = "" if citation is None else _inline(citation)
                writer.paragraph(f"[{label}] {' '.join(_texts(content_of_note))}")
        return writer.finish()


def _blocks(container: ET.Element, writer: DocumentWriter) -> None:
    for block in container:
        match local_name(block.tag):
            case "h":
                level = attribute(block, "outline-level") or "1"
                writer.heading(int(level) if level.isdecimal() else 1, _inline(block))
            case "p":
                if attribute(block, "style-name") == "Title":
                    writer.heading(0, _inline(block))
                else:
                    writer.paragraph(_inline(block))
                _boxes(block, writer)
            case "list":
                for index, text in enumerate(_items(block)):
                    (writer.line if index else writer.paragraph)(f"- {text}")
            case "table":
                _table(block, writer)
            case name if name in _WRAPPERS:
                _blocks(block, writer)
            case _:
                pass


def _boxes(paragraph: ET.Element, writer: DocumentWriter) -> None:
    """Text boxes that are anchored to a paragraph."""
    for box in descendants(paragraph, "text-box"):
        _blocks(box, writer)


def _items(element: ET.Element) -> Iterator[str]:
    """Of a list, those of lists inside included."""
    for part in element:
        match local_name(part.tag):
            case "p" | "h":
                if text := _inline(part).strip():
                    yield text
            case "list" | "list-item" | "list-header":
                yield from _items(part)
            case _:
                pass


def _table(table: ET.Element, writer: DocumentWriter) -> None:
    is_first = True
    for row in _rows(table):
        cells = [" ".join(_texts(cell)) for cell in row if local_name(cell.tag) in {"table-cell", "covered-table-cell"}]
        writer.row(cells, is_first=is_first)
        is_first = is_first and not any(cells)


def _rows(table: ET.Element) -> Iterator[ET.Element]:
    for part in table:
        if local_name(part.tag) == "table-row":
            yield part
        elif local_name(part.tag) in {"table-header-rows", "table-rows", "table-row-group"}:
            yield from _rows(part)


def _texts(container: ET.Element) -> Iterator[str]:
    return (_inline(part) for part in container.iter() if local_name(part.tag) in {"p", "h"})


def _inline(element: ET.Element) -> str:
    return "".join(_pieces(element))


def _pieces(element: ET.Element) -> Iterator[str]:
    yield element.text or ""
    for part in element:
        match local_name(part.tag):
            case "s":
                count = attribute(part, "c") or "1"
                yield " " * min(int(count) if count.isdecimal() else 1, _MAX_SPACES)
            case "tab":
                yield "\t"
            case "line-break":
                yield "\n"
            case "note":
                yield "".join(f"[{_inline(citation)}]" for citation in children(part, "note-citation"))
            case name if name not in _LEFT_OUT:
                yield from _pieces(part)
            case _:
                pass
        yield part.tail or ""
