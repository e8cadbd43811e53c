"""PowerPoint presentations (.pptx): slide by slide its title, texts, tables, diagrams and notes. A section's page is the slide's number."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

from offline_assistants.documents.formats.document_writer import DocumentWriter
from offline_assistants.documents.formats.zipped_xml import ZippedXml, child, children, descendants, local_name
from offline_assistants.ports import ParsedDocument

_GROUPS = frozenset({"grpSp", "AlternateContent", "Choice"})
_TITLES = frozenset({"title", "ctrTitle"})
_REPEATED = frozenset({"sldNum", "dt", "ftr", "hdr", "sldImg"})
"""Placeholders that say on every slide the same."""


def parse_pptx(content: bytes, max_text_chars: int) -> ParsedDocument:
    with ZippedXml(content, kind="a PowerPoint presentation (.pptx)") as archive:
        writer = DocumentWriter(max_text_chars)
        main = archive.main_part()
        leads_to = archive.relationships(main)
        for number, entry in enumerate(descendants(archive.xml(main), "sldId"), start=1):
            # An entry has an id of its own beside the one that leads to its part, which stands in the namespace of relationships.
            link = next((value for key, value in entry.attrib.items() if key.endswith("}id")), "")
            if link in leads_to and leads_to[link].target in archive:
                _slide(archive, leads_to[link].target, number, writer)
        return writer.finish()


def _slide(archive: ZippedXml, part: str, number: int, writer: DocumentWriter) -> None:
    tree = child(archive.xml(part), "cSld", "spTree")
    shapes = [] if tree is None else list(_shapes(tree))
    titles = [shape for shape in shapes if _placeholder(shape) in _TITLES]
    title = " ".join(text for shape in titles for text in _paragraphs(shape))
    writer.page(number)
    writer.heading(1, title or f"Slide {number}", is_shown=bool(title))
    for shape in shapes:
        if _placeholder(shape) not in _TITLES | _REPEATED:
            _shape(shape, writer)
    if (diagram := archive.related(part, "diagramData")) is not None:
        _lines(_paragraphs(archive.xml(diagram)), writer)
    if (notes := archive.related(part, "notesSlide")) is not None:
        shown = (shape for shape in descendants(archive.xml(notes), "sp") if _placeholder(shape) not in _REPEATED)
        texts = [text for shape in shown for text in _paragraphs(shape)]
        _lines([f"Notes: {text}" if index == 0 else text for index, text in enumerate(texts)], writer)


def _shapes(tree: ET.Element) -> Iterator[ET.Element]:
    for shape in tree:
        if local_name(shape.tag) in _GROUPS:
            yield from _shapes(shape)
        elif local_name(shape.tag) in {"sp", "graphicFrame"}:
            yield shape


def _placeholder(shape: ET.Element) -> str | None:
    """What a shape stands in for; None when it stands for itself."""
    found = child(shape, "nvSpPr", "nvPr", "ph")
    return None if found is None else found.get("type", "body")


def _shape(shape: ET.Element, writer: DocumentWriter) -> None:
    table = next(descendants(shape, "tbl"), None)
    if table is None:
        _lines(_paragraphs(shape), writer)
        return
    for index, row in enumerate(children(table, "tr")):
        writer.row([" ".join(_paragraphs(cell)) for cell in children(row, "tc")], is_first=index == 0)


def _lines(texts: Iterator[str] | list[str], writer: DocumentWriter) -> None:
    """One block."""
    for index, text in enumerate(texts):
        if index == 0:
            writer.paragraph(text)
        else:
            writer.line(text)


def _paragraphs(element: ET.Element) -> Iterator[str]:
    for paragraph in descendants(element, "p"):
        text = "".join("\n" if local_name(part.tag) == "br" else part.text or "" for part in paragraph.iter() if local_name(part.tag) in {"t", "br"})
        if text.strip():
            yield text.strip()
