"""File content into canonical text with its sections, one function per kind of file. Runs in the parser child only.

Canonical text has "\\n" as its only line end and no control characters beyond tab and form feed; every offset anywhere counts its characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import PurePath

from offline_assistants.documents.plain_text import clean, decode
from offline_assistants.errors import InvalidFile, UnsupportedFile
from offline_assistants.ports import ParsedDocument, Section

_PLAIN = "c cpp cs css java js json php py rb sh tex ts txt".split()  # noqa: SIM905
_CONVERT = {
    "doc": "Save it as PDF, Markdown or text.",
    "docx": "Save it as PDF, Markdown or text.",
    "pptx": "Save it as PDF.",
    "csv": "Tables are for code_interpreter: attach the file there.",
    "xlsx": "Tables are for code_interpreter: attach the file there.",
    "xls": "Tables are for code_interpreter: attach the file there.",
    "jsonl": "Tables are for code_interpreter: attach the file there.",
}
_PASSWORD_NEEDED = 4
"""FPDF_ERR_PASSWORD of PDFium's fpdfview.h."""


def parse(filename: str, content: bytes, *, max_text_chars: int) -> ParsedDocument:
    """The document in `content`, by the ending of `filename`. Raises UnsupportedFile, InvalidFile."""
    suffix = PurePath(filename).suffix.lower().removeprefix(".")
    parser = _PARSERS.get(suffix)
    if parser is None:
        raise UnsupportedFile(_unsupported(filename, suffix))
    if not content:
        raise InvalidFile(f"{filename} is empty: it has 0 bytes.")
    document = parser(content, max_text_chars)
    if len(document.text) > max_text_chars:
        raise _too_long(max_text_chars)
    if not document.text.strip():
        raise InvalidFile(f"{filename} holds no text.")
    return document


def _unsupported(filename: str, suffix: str) -> str:
    name = f"Files of type .{suffix}" if suffix else f"Files without an ending, like {filename!r},"
    return f"{name} cannot be searched. {_CONVERT.get(suffix, 'Convert the file to text, Markdown or PDF.')} Searchable: {', '.join(sorted(_PARSERS))}."


def _too_long(max_text_chars: int) -> InvalidFile:
    return InvalidFile(f"The file holds more than {max_text_chars:,} characters of text, which is the limit. Split it into several files.")


# ── Text ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def parse_plain(content: bytes, max_text_chars: int) -> ParsedDocument:
    if len(content) > 4 * max_text_chars + 4:  # no encoding takes more than four bytes a character
        raise _too_long(max_text_chars)
    return ParsedDocument(clean(decode(content)))


# ── Markdown ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*\Z")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*\Z")
_NOT_A_TITLE = re.compile(r" {0,3}(?:[-*+>|]|\d+[.)])|[ \t]*\Z| {4}|\t")


def parse_markdown(content: bytes, max_text_chars: int) -> ParsedDocument:
    """The text as it stands; a section runs from its heading to the next one, and its name is the path: "Guide > Install > Linux"."""
    text = parse_plain(content, max_text_chars).text
    starts: list[tuple[int, str | None]] = [(0, None)]
    path: list[tuple[int, str]] = []
    for start, level, title in _headings(text):
        path = [(above, name) for above, name in path if above < level] + [(level, title)]
        starts.append((start, " > ".join(name for _, name in path)))
    ends = [start for start, _ in starts[1:]] + [len(text)]
    sections = (Section(start, end, heading=heading) for (start, heading), end in zip(starts, ends, strict=True) if start < end)
    return ParsedDocument(text, tuple(sections))


def _headings(text: str) -> Iterator[tuple[int, int, str]]:
    """Offset, level and title of each heading outside code."""
    fence, previous, previous_start, start = "", "", 0, 0
    for line in text.split("\n"):
        fenced = _FENCE.match(line)
        if fence:
            if fenced and fenced[1].startswith(fence) and not line[fenced.end() :].strip():
                fence = ""
            previous = ""
        elif fenced:
            fence, previous = fenced[1], ""
        elif found := _HEADING.match(line):
            if found[2]:
                yield start, len(found[1]), found[2]
            previous = ""
        elif (under := _UNDERLINE.match(line)) and not _NOT_A_TITLE.match(previous):
            yield previous_start, 1 if under[1][0] == "=" else 2, previous.strip()
            previous = ""
        else:
            previous, previous_start = line, start
        start += len(line) + 1


# ── HTML ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


class _VisibleText(HTMLParser):
    """Collects what a browser would show, a line per block."""

    _HIDDEN = frozenset("script style template noscript svg math".split())  # noqa: SIM905
    _INLINE = frozenset("a abbr b bdi bdo cite code data del dfn em font i img ins kbd label mark q s samp small span strong sub sup tt u var".split())  # noqa: SIM905
    _PARAGRAPHS = frozenset("article blockquote dl h1 h2 h3 h4 h5 h6 hr main ol p pre section table title ul".split())  # noqa: SIM905

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden: list[str] = []
        self._num_pre = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._HIDDEN:
            self._hidden.append(tag)
        self._num_pre += tag == "pre"
        self._separate(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self._hidden:
            del self._hidden[self._hidden.index(tag) :]
        self._num_pre -= tag == "pre" and self._num_pre > 0
        self._separate(tag)

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data if self._num_pre else re.sub(r"\s+", " ", data))

    def _separate(self, tag: str) -> None:
        if not self._hidden and tag not in self._INLINE:
            self.parts.append("\n\n" if tag in self._PARAGRAPHS else "\n")


def parse_html(content: bytes, max_text_chars: int) -> ParsedDocument:
    """What a browser would show, without scripts, styles and tags."""
    reader = _VisibleText()
    reader.feed(parse_plain(content, max_text_chars).text)
    reader.close()
    text = re.sub(r"\n (?=\S)", "\n", re.sub(r"[ \t]+\n", "\n", "".join(reader.parts)))
    return ParsedDocument(re.sub(r"\n{3,}", "\n\n", text).strip())


# ── PDF ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def parse_pdf(content: bytes, max_text_chars: int) -> ParsedDocument:
    """The text of each page, a section per page. Raises InvalidFile when damaged, protected, or without text on any page."""
    pieces: list[str] = []
    sections: list[Section] = []
    num_pages = end = 0
    for num_pages, page_text in enumerate(_pdf_pages(content), start=1):
        if not page_text:
            continue
        if sections:  # a page that begins with a small letter goes on with the sentence of the one before
            pieces.append("\n" if page_text[0].islower() else "\n\n")
            end += len(pieces[-1])
        sections.append(Section(end, end + len(page_text), page=num_pages))
        pieces.append(page_text)
        end += len(page_text)
        if end > max_text_chars:
            raise _too_long(max_text_chars)
    if not sections:
        pages = "Its only page holds" if num_pages == 1 else f"Pages 1 to {num_pages}, all it has, hold"
        raise InvalidFile(f"{pages} no text, only pictures: it is probably a scan. Run text recognition (OCR) on it and upload the result.")
    return ParsedDocument("".join(pieces), tuple(sections))


def _pdf_pages(content: bytes) -> Iterator[str]:
    import pypdfium2  # here, so that a text file's parser starts without it

    try:
        with pypdfium2.PdfDocument(content) as document:
            for page in document:
                textpage = page.get_textpage()
                yield _clean_page(textpage.get_text_range())
                textpage.close()
                page.close()
    except pypdfium2.PdfiumError as error:
        if error.err_code == _PASSWORD_NEEDED:  # pyright: ignore[reportUnknownMemberType]
            raise InvalidFile("The PDF is protected by a password. Save a copy without one and upload that.") from error
        raise InvalidFile(f"The PDF is damaged or is no PDF: {error} Open it on your machine, save it again, and upload the new file.") from error


def _clean_page(text: str) -> str:
    """PDFium's page text with a word that was hyphenated at a line's end in one piece, and no blanks at the ends of lines."""
    text = re.sub(r"(?<=\w)[\x02\ufffe\xad](?:\r?\n)?(?=\w)", "", text.replace("\r\n", "\n"))
    return re.sub(r"[ \t]+(?=\n|\Z)", "", clean(text)).strip()


_PARSERS: dict[str, Callable[[bytes, int], ParsedDocument]] = {
    **dict.fromkeys(_PLAIN, parse_plain),
    "md": parse_markdown,
    "html": parse_html,
    "pdf": parse_pdf,
}
