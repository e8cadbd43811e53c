"""Rich text (.rtf): its paragraphs and table rows, after Microsoft's specification 1.9.1. Headings by their styles or outline levels."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from offline_assistants.documents.formats.document_writer import DocumentWriter
from offline_assistants.errors import InvalidFile
from offline_assistants.ports import ParsedDocument

_TOKEN = re.compile(rb"\\([a-zA-Z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z])|([{}])|[\r\n]+|([^\\{}\r\n]+)")
_HEADING_STYLE = re.compile(rb"\{\\s(\d{1,5})\\[^{};]{0,2000} (?:heading (\d)|title);", re.IGNORECASE)
"""In the sheet of styles."""
_SKIPPED = frozenset(
    """fonttbl colortbl stylesheet info pict object header headerl headerr headerf footer footerl footerr footerf themedata datastore latentstyles listtable
    listoverridetable revtbl rsidtbl generator xmlnstbl fldinst filetbl bkmkstart bkmkend annotation atnid atnauthor nonshppict""".split()  # noqa: SIM905
)
"""Groups that hold no text of the document."""
_CHARACTERS = {"tab": "\t", "line": "\n", "emdash": "—", "endash": "–", "lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”", "bullet": "•"}
_SYMBOLS = {b"~": " ", b"_": "-", b"\\": "\\", b"{": "{", b"}": "}", b"\n": "\n", b"\r": "\n"}
_MAX_DEPTH = 10_000


@dataclass(frozen=True, slots=True)
class _Group:
    """What holds until the group's closing brace."""

    is_skipped: bool = False
    unicode_fallback: int = 1
    """Bytes after \\u that stand in for it where it is not known."""


def parse_rtf(content: bytes, max_text_chars: int) -> ParsedDocument:
    if not content.lstrip().startswith(b"{\\rtf"):
        raise InvalidFile("The file is damaged or is no rich text (.rtf). Open it on your machine, save it again, and upload the new file.")
    styles = {int(found[1]): int(found[2] or 0) for found in _HEADING_STYLE.finditer(content)}
    reader = _Reader(DocumentWriter(max_text_chars), styles)
    at = 0
    while found := _TOKEN.match(content, at):
        at = found.end() + reader.read(found)
    return reader.finish()


class _Reader:
    def __init__(self, writer: DocumentWriter, heading_styles: dict[int, int]) -> None:
        self._writer = writer
        self._heading_styles = heading_styles
        self._group = _Group()
        self._around: list[_Group] = []
        self._encoding = "cp1252"
        self._bytes = bytearray()
        self._text: list[str] = []
        self._cells: list[str] = []
        self._num_to_skip = 0
        self._level: int | None = None
        self._is_first_row = True

    def read(self, token: re.Match[bytes]) -> int:
        """Returns how many bytes after the token are pictures and the like."""
        word, number, code, symbol, brace, text = token.groups()
        if word is not None:
            return self._control(word.decode("ascii"), int(number) if number is not None else None)
        if brace is not None:
            self._brace(brace)
        elif code is not None:
            self._add_bytes(bytes([int(code, 16)]))
        elif symbol == b"*":
            self._group = replace(self._group, is_skipped=True)
        elif symbol is not None:
            self._add(_SYMBOLS.get(symbol, ""))
        elif text is not None:
            self._add_bytes(text)
        return 0

    def finish(self) -> ParsedDocument:
        self._end_paragraph()
        return self._writer.finish()

    def _brace(self, brace: bytes) -> None:
        self._decode()
        if brace == b"{":
            if len(self._around) == _MAX_DEPTH:
                raise InvalidFile("The file nests its parts deeper than any program does: it is damaged, or made to do harm.")
            self._around.append(self._group)
        elif self._around:
            self._group = self._around.pop()

    def _control(self, word: str, number: int | None) -> int:
        match word:
            case "bin":
                return max(0, number or 0)
            case "ansicpg":
                self._encoding = f"cp{number}"
            case "uc":
                self._group = replace(self._group, unicode_fallback=max(0, number or 0))
            case "u":
                self._add(chr((number or 0) % 0x10000))
                self._num_to_skip = self._group.unicode_fallback
            case _ if word in _SKIPPED:
                self._group = replace(self._group, is_skipped=True)
            case _ if not self._group.is_skipped:
                self._layout(word, number)
            case _:
                pass
        return 0

    def _layout(self, word: str, number: int | None) -> None:
        match word:
            case "par" | "sect" | "page":
                self._end_paragraph()
            case "pard":
                self._level = None
            case "s":
                self._level = self._heading_styles.get(number or 0)
            case "outlinelevel":
                self._level = None if number is None or number >= 9 else number + 1
            case "cell" | "nestcell":
                self._cells.append(self._take())
            case "row" | "nestrow":
                self._writer.row(self._cells, is_first=self._is_first_row)
                self._cells, self._is_first_row = [], False
            case _ if word in _CHARACTERS:
                self._add(_CHARACTERS[word])
            case _:
                pass

    def _end_paragraph(self) -> None:
        if self._cells:  # inside a cell
            self._add(" ")
            return
        text = self._take()
        if not text.strip():
            return
        self._is_first_row = True
        if self._level is None:
            self._writer.paragraph(text)
        else:
            self._writer.heading(self._level, text)

    def _add_bytes(self, content: bytes) -> None:
        skipped = min(self._num_to_skip, len(content))
        self._num_to_skip -= skipped
        if not self._group.is_skipped:
            self._bytes += content[skipped:]

    def _add(self, text: str) -> None:
        self._decode()
        if not self._group.is_skipped:
            self._text.append(text)

    def _decode(self) -> None:
        """Bytes wait until they are all there: some characters take two."""
        if self._bytes:
            try:
                self._text.append(self._bytes.decode(self._encoding, "replace"))
            except LookupError:
                self._text.append(self._bytes.decode("cp1252", "replace"))
            self._bytes.clear()

    def _take(self) -> str:
        self._decode()
        text = "".join(self._text).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        self._text.clear()
        return text.strip()
