"""Books in EPUB: the chapters in the order of reading, with their headings."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote

from offline_assistants.documents.formats.document_writer import DocumentWriter
from offline_assistants.documents.formats.html_page import decode_html, write_html
from offline_assistants.documents.formats.zipped_xml import ZippedXml, child, descendants
from offline_assistants.errors import InvalidFile
from offline_assistants.ports import ParsedDocument

_ENCRYPTION = "META-INF/encryption.xml"
_FONT_ALGORITHMS = (b"http://www.idpf.org/2008/embedding", b"http://ns.adobe.com/pdf/enc#RC")
"""Fonts may be scrambled in a book that everybody can read."""


def parse_epub(content: bytes, max_text_chars: int) -> ParsedDocument:
    with ZippedXml(content, kind="an EPUB book") as archive:
        if _ENCRYPTION in archive and not any(algorithm in archive.read(_ENCRYPTION) for algorithm in _FONT_ALGORITHMS):
            raise InvalidFile("The book is protected by its seller (DRM), so that it cannot be read here. Upload a copy without protection.")
        package_path = next((each.get("full-path", "") for each in descendants(archive.xml("META-INF/container.xml"), "rootfile")), "")
        package = archive.xml(package_path)
        folder = posixpath.dirname(package_path)
        files = {item.get("id"): posixpath.normpath(posixpath.join(folder, unquote(item.get("href", "")))) for item in descendants(package, "item")}
        writer = DocumentWriter(max_text_chars)
        metadata = child(package, "metadata")
        for title in () if metadata is None else descendants(metadata, "title"):
            writer.heading(0, title.text or "")
            break
        for entry in descendants(package, "itemref"):
            if (name := files.get(entry.get("idref"))) and name in archive:
                write_html(decode_html(archive.read(name)), writer, has_title=False)
        return writer.finish()
