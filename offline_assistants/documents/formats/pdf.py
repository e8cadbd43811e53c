"""PDF: the text of each page, a section per page and per bookmark. Pages that are pictures go through text recognition where the machine has it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple, cast

import pypdfium2

from offline_assistants.documents.formats.document_writer import DocumentWriter
from offline_assistants.documents.formats.text_recognition import TextRecognition
from offline_assistants.documents.plain_text import clean
from offline_assistants.errors import InvalidFile
from offline_assistants.ports import ParsedDocument

_PASSWORD_NEEDED = 4
"""FPDF_ERR_PASSWORD of PDFium's fpdfview.h."""
_MAX_BOOKMARKS = 10_000
_DOTS_PER_POINT = 200 / 72
_MAX_DOTS = 25_000_000
_NUMBER_BEFORE_TITLE = r"^[ \t]*(?:[\dA-Z][\dA-Z.]{0,11}[ \t]+)?"


class _Bookmark(NamedTuple):
    level: int
    title: str


def parse_pdf(content: bytes, max_text_chars: int, *, recognition: TextRecognition, on_page: Callable[[], None]) -> ParsedDocument:
    """`on_page` is called after each page that was recognised. Raises InvalidFile when damaged, protected, or without text on any page."""
    try:
        with cast("Any", pypdfium2).PdfDocument(content) as document:
            return _Reader(document, DocumentWriter(max_text_chars), recognition, on_page).read()
    except pypdfium2.PdfiumError as error:
        if cast("Any", error).err_code == _PASSWORD_NEEDED:
            raise InvalidFile("The PDF is protected by a password. Save a copy without one and upload that.") from error
        raise InvalidFile(f"The PDF is damaged or is no PDF: {error} Open it on your machine, save it again, and upload the new file.") from error


class _Reader:
    def __init__(self, document: Any, writer: DocumentWriter, recognition: TextRecognition, on_page: Callable[[], None]) -> None:
        self._document = document
        self._writer = writer
        self._recognition = recognition
        self._on_page = on_page
        self._num_texts = 0

    def read(self) -> ParsedDocument:
        bookmarks = _bookmarks(self._document)
        number = 0
        for number, page in enumerate(self._document, start=1):
            self._writer.page(number)
            text, is_blank = self._text_of(page)
            page.close()
            if text:
                self._num_texts += 1
                _write_page(text, bookmarks.get(number - 1, []), self._writer)
            elif not is_blank:  # said in the text itself, so that whoever reads or searches it knows what is missing
                self._writer.paragraph(f"[Page {number} holds no text, only a picture.]")
        if not self._num_texts:
            raise self._no_text(number)
        return self._writer.finish()

    def _text_of(self, page: Any) -> tuple[str, bool]:
        """And whether the page has nothing on it at all."""
        textpage = page.get_textpage()
        text = _clean_page(textpage.get_text_range())
        textpage.close()
        if text:
            return text, False
        is_blank = next(iter(page.get_objects(max_depth=1)), None) is None
        if not is_blank and self._recognition.is_there:
            text = _clean_page(self._recognition.read(*_picture(page)))
            self._on_page()
        return text, is_blank

    def _no_text(self, num_pages: int) -> InvalidFile:
        pages = "Its only page, page 1, holds" if num_pages == 1 else f"Pages 1 to {num_pages}, all it has, hold"
        if self._recognition.is_there:
            return InvalidFile(f"{pages} no text, and text recognition found none in their pictures. Scan it again with a higher resolution.")
        return InvalidFile(
            f"{pages} no text, only pictures: it is probably a scan. Run text recognition (OCR) on it and upload the result, "
            "or install tesseract on the server's machine, which is then used for scans."
        )


def _bookmarks(document: Any) -> dict[int, list[_Bookmark]]:
    """The document's outline, by the index of the page that each entry leads to."""
    found: dict[int, list[_Bookmark]] = {}
    for bookmark in islice(document.get_toc(), _MAX_BOOKMARKS):
        destination = bookmark.get_dest()
        page_index = None if destination is None else cast("int | None", destination.get_index())
        if page_index is not None and (title := clean(bookmark.get_title()).strip()):
            found.setdefault(page_index, []).append(_Bookmark(bookmark.level + 1, title))
    return found


def _write_page(text: str, bookmarks: list[_Bookmark], writer: DocumentWriter) -> None:
    """The page in pieces, each beginning with the line of a bookmark's title; one that is on no line counts from where the last one does."""
    start = 0
    for bookmark in bookmarks:
        words = r"\s+".join(re.escape(word) for word in bookmark.title.split())
        if found := re.compile(_NUMBER_BEFORE_TITLE + words, re.MULTILINE | re.IGNORECASE).search(text, start):
            _write_piece(text[start : found.start()], writer, is_first=start == 0)
            start = found.start()
        writer.heading(bookmark.level, bookmark.title, is_shown=False)
    _write_piece(text[start:], writer, is_first=start == 0)


def _write_piece(text: str, writer: DocumentWriter, *, is_first: bool) -> None:
    if is_first and text[:1].islower():  # a page that begins with a small letter goes on with the sentence of the one before
        writer.line(text)
    else:
        writer.paragraph(text)


def _clean_page(text: str) -> str:
    """PDFium's page text with a word that was hyphenated at a line's end in one piece, and no blanks at the ends of lines."""
    text = re.sub(r"(?<=\w)[\x02\ufffe\xad](?:\r?\n)?(?=\w)", "", text.replace("\r\n", "\n"))
    return re.sub(r"[ \t]+(?=\n|\Z)", "", clean(text)).strip()


def _picture(page: Any) -> tuple[int, int, bytes]:
    """Width, height and grey values of a page as it is printed, row by row."""
    width, height = page.get_size()
    scale = min(_DOTS_PER_POINT, math.sqrt(_MAX_DOTS / max(1.0, width * height)))
    bitmap = page.render(scale=scale, grayscale=True)
    view = memoryview(bitmap.buffer).cast("B")
    rows = (view[row * bitmap.stride : row * bitmap.stride + bitmap.width] for row in range(bitmap.height))
    try:
        return bitmap.width, bitmap.height, b"".join(rows)
    finally:
        view.release()
        bitmap.close()
