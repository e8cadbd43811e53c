"""File content into canonical text with its sections, by the ending of the file's name. Runs in the parser child only."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from offline_assistants.documents.formats.document_writer import too_long
from offline_assistants.documents.formats.plain import parse_plain
from offline_assistants.documents.formats.text_recognition import TextRecognition
from offline_assistants.domain.file_types import KINDS, SEARCHABLE, Kind, ending
from offline_assistants.errors import InvalidFile, UnsupportedFile
from offline_assistants.ports import ParsedDocument

_CONVERT = {
    "xls": "Save it as .xlsx.",
    "xlsb": "Save it as .xlsx.",
    "ppt": "Save it as .pptx.",
    "odp": "Save it as .pptx or PDF.",
    "ods": "Save it as .xlsx.",
    "pages": "Export it as .docx or PDF.",
    "msg": "Save it as .eml.",
}
Parser = Callable[[bytes, int], ParsedDocument]


def parse(
    filename: str, content: bytes, *, max_text_chars: int, recognition: TextRecognition | None = None, on_progress: Callable[[], None] | None = None
) -> ParsedDocument:
    """The document in `content`, by the ending of `filename`. `on_progress` is called when some slow step is done. Raises UnsupportedFile, InvalidFile."""
    kind = KINDS.get(ending(filename))
    if kind is None:
        raise UnsupportedFile(_unsupported(filename))
    if not content:
        raise InvalidFile("The file is empty: it has 0 bytes.")
    try:
        document = _parser(kind, recognition or TextRecognition(), on_progress or _nothing)(content, max_text_chars)
    except RecursionError as error:
        raise InvalidFile("The file nests its parts deeper than any program does: it is damaged, or made to do harm.") from error
    if len(document.text) > max_text_chars:
        raise too_long(max_text_chars)
    if not document.text.strip():
        raise InvalidFile("The file holds no text.")
    return document


def _unsupported(filename: str) -> str:
    suffix = ending(filename)
    name = f"Files of type .{suffix}" if suffix else f"Files without an ending, like {filename!r},"
    return f"{name} cannot be searched. {_CONVERT.get(suffix, 'Convert the file to text, Markdown or PDF.')} Searchable: {', '.join(sorted(SEARCHABLE))}."


def _nothing() -> None: ...


def _parser(kind: Kind, recognition: TextRecognition, on_progress: Callable[[], None]) -> Parser:
    """Each is imported only when it is needed: a text should not wait for what a PDF needs."""
    match kind:
        case Kind.PLAIN:
            return parse_plain
        case Kind.MARKDOWN:
            from offline_assistants.documents.formats.markdown import parse_markdown as parser
        case Kind.HTML:
            from offline_assistants.documents.formats.html_page import parse_html as parser
        case Kind.PDF:
            from offline_assistants.documents.formats.pdf import parse_pdf

            return partial(parse_pdf, recognition=recognition, on_page=on_progress)
        case Kind.WORD:
            from offline_assistants.documents.formats.docx import parse_docx as parser
        case Kind.OLD_WORD:
            from offline_assistants.documents.formats.word_binary import parse_doc as parser
        case Kind.SLIDES:
            from offline_assistants.documents.formats.pptx import parse_pptx as parser
        case Kind.WORKBOOK:
            from offline_assistants.documents.formats.xlsx import parse_xlsx as parser
        case Kind.TABLE:
            from offline_assistants.documents.formats.tables import parse_csv as parser
        case Kind.OPEN_DOCUMENT:
            from offline_assistants.documents.formats.opendocument import parse_odt as parser
        case Kind.BOOK:
            from offline_assistants.documents.formats.epub import parse_epub as parser
        case Kind.EMAIL:
            from offline_assistants.documents.formats.email_message import parse_eml as parser
        case Kind.RICH_TEXT:
            from offline_assistants.documents.formats.rich_text import parse_rtf as parser
    return parser
