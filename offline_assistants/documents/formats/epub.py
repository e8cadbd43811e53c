"""Books in EPUB: the chapters in the order of reading, with their headings; where a chapter has none, under its title in the table of contents."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from offline_assistants.documents.formats.document_writer import DocumentWriter
from offline_assistants.documents.formats.html_page import decode_html, write_html
from offline_assistants.documents.formats.zipped_xml import ZippedXml, child, descendants
from offline_assistants.errors import InvalidFile
from offline_assistants.ports import ParsedDocument

_ENCRYPTION = "META-INF/encryption.xml"
_FONT_ALGORITHMS = (b"http://www.idpf.org/2008/embedding", b"http://ns.adobe.com/pdf/enc#RC")
"""Fonts may be scrambled in a book that everybody can read."""
_HEADING = re.compile(r"<h[1-6][\s>]", re.IGNORECASE)
_NCX = "application/x-dtbncx+xml"


def parse_epub(content: bytes, max_text_chars: int) -> ParsedDocument:
    with ZippedXml(content, kind="an EPUB book") as archive:
        if _ENCRYPTION in archive and not any(algorithm in archive.read(_ENCRYPTION) for algorithm in _FONT_ALGORITHMS):
            raise InvalidFile("The book is protected by its seller (DRM), so that it cannot be read here. Upload a copy without protection.")
        package_path = next((each.get("full-path", "") for each in descendants(archive.xml("META-INF/container.xml"), "rootfile")), "")
        package = archive.xml(package_path)
        files = {item.get("id"): _beside(package_path, item.get("href", "")) for item in descendants(package, "item")}
        titles = _titles(archive, package_path, package)
        writer = DocumentWriter(max_text_chars)
        metadata = child(package, "metadata")
        for title in () if metadata is None else descendants(metadata, "title"):
            writer.heading(0, title.text or "")
            break
        for entry in descendants(package, "itemref"):
            if (name := files.get(entry.get("idref"))) and name in archive:
                chapter = decode_html(archive.read(name))
                if not _HEADING.search(chapter):
                    writer.heading(1, titles.get(name, ""), is_shown=False)
                write_html(chapter, writer, has_title=False)
        return writer.finish()


def _beside(path: str, reference: str) -> str:
    """The member that a reference in another one leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), unquote(reference.partition("#")[0])))


def _titles(archive: ZippedXml, package_path: str, package: ET.Element) -> dict[str, str]:
    """What the table of contents calls each chapter: that of EPUB 3, and that of EPUB 2. A damaged one calls none anything."""
    titles: dict[str, str] = {}
    for item in descendants(package, "item"):
        path = _beside(package_path, item.get("href", ""))
        if path in archive and (item.get("media-type") == _NCX or "nav" in item.get("properties", "").split()):
            try:
                for reference, title in _entries(archive.xml(path)):
                    titles.setdefault(_beside(path, reference), title)
            except InvalidFile:
                continue
    return titles


def _entries(contents: ET.Element) -> Iterator[tuple[str, str]]:
    for link in descendants(contents, "a"):
        yield link.get("href", ""), "".join(link.itertext())
    for point in descendants(contents, "navPoint"):
        title, target = child(point, "navLabel", "text"), child(point, "content")
        if title is not None and target is not None:
            yield target.get("src", ""), title.text or ""
