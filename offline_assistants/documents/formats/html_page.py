"""HTML: what a browser would show, with sections by headings and tables row by row. Also reads the chapters of an EPUB and the bodies of e-mail."""

from __future__ import annotations

import codecs
import re
from html.parser import HTMLParser

from offline_assistants.documents.formats.document_writer import DocumentWriter, too_long
from offline_assistants.documents.plain_text import decode
from offline_assistants.ports import ParsedDocument

_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w.:-]{1,40})""", re.IGNORECASE)
_HEAD_BYTES = 4096
_BLANKS = re.compile(r"\s+")
_HIDDEN = frozenset("script style template noscript svg math".split())  # noqa: SIM905
_INLINE = frozenset("a abbr b bdi bdo cite code data del dfn em font i img ins kbd label mark q s samp small span strong sub sup tt u var wbr".split())  # noqa: SIM905
_HEADINGS = {"title": 0, "h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}
_LINES = frozenset("br dd dt li option".split())  # noqa: SIM905


def parse_html(content: bytes, max_text_chars: int) -> ParsedDocument:
    if len(content) > 16 * max_text_chars + 4:  # mark-up may be most of a page
        raise too_long(max_text_chars)
    writer = DocumentWriter(max_text_chars)
    write_html(decode_html(content), writer)
    return writer.finish()


def decode_html(content: bytes) -> str:
    """By what the page says of itself, when it is true."""
    if found := _CHARSET.search(content[:_HEAD_BYTES]):
        try:
            return content.decode(codecs.lookup(found[1].decode("ascii")).name)
        except (LookupError, UnicodeError):
            pass  # it says what is not so
    return decode(content)


def write_html(text: str, writer: DocumentWriter, *, has_title: bool = True) -> None:
    """`has_title`: the page's <title> is its first heading; otherwise it is left out."""
    reader = _VisibleText(writer, has_title=has_title)
    reader.feed(text)
    reader.close()
    reader.end_block()


class _VisibleText(HTMLParser):
    """Knows no tree, so that no depth of tags costs more than their number. Blocks go to the writer; those of a table cell wait for the end of its row."""

    def __init__(self, writer: DocumentWriter, *, has_title: bool) -> None:
        super().__init__(convert_charrefs=True)
        self._writer = writer
        self._has_title = has_title
        self._text: list[str] = []
        self._hidden_by = ""
        self._num_hidden = 0
        self._num_pre = 0
        self._level: int | None = None
        self._is_line = False
        self._cells: list[list[str]] | None = None
        """The blocks of the cells of the row that is open."""
        self._is_first_row = True

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden_by:
            self._num_hidden += tag == self._hidden_by
            return
        if tag in _HIDDEN or (tag == "title" and not self._has_title):
            self._hidden_by, self._num_hidden = tag, 1
        if tag in _INLINE:
            return
        self.end_block()
        self._num_pre += tag == "pre"
        self._level = _HEADINGS.get(tag)
        self._is_line = tag in _LINES
        if tag == "table":
            self._end_row()
            self._is_first_row = True
        elif tag == "tr":
            self._end_row()
            self._cells = []
        elif tag in {"td", "th"} and self._cells is not None:
            self._cells.append([])

    def handle_endtag(self, tag: str) -> None:
        if self._hidden_by:
            self._num_hidden -= tag == self._hidden_by
            self._hidden_by = self._hidden_by if self._num_hidden else ""
            return
        if tag in _INLINE:
            return
        self.end_block()
        self._num_pre -= tag == "pre" and self._num_pre > 0
        if tag in {"tr", "table"}:
            self._end_row()

    def handle_data(self, data: str) -> None:
        if not self._hidden_by:
            self._text.append(data if self._num_pre else _BLANKS.sub(" ", data))

    def end_block(self) -> None:
        """Hand over what was read since the last block began."""
        text = "".join(self._text)
        text = text if self._num_pre else re.sub(" {2,}", " ", text).strip()
        level, self._level = self._level, None
        self._text.clear()
        if not text.strip():
            return
        if self._cells:
            self._cells[-1].append(text)
        elif level is not None:
            self._writer.heading(level, text)
        elif self._is_line:
            self._writer.line(text)
        else:
            self._writer.paragraph(text)
        self._is_line = False

    def _end_row(self) -> None:
        cells, self._cells = self._cells or [], None
        filled = [cell for cell in cells if cell]
        if len(filled) == 1 and len(filled[0]) > 1:  # a table that only lays out the page
            for block in filled[0]:
                self._writer.paragraph(block)
        elif filled:
            self._writer.row([" ".join(cell) for cell in cells], is_first=self._is_first_row)
            self._is_first_row = False
