"""Bytes into text: which encoding they are in, and whether they are text at all. Knows nothing of files."""

from __future__ import annotations

import codecs
import re
import unicodedata

from offline_assistants.errors import InvalidFile

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_SIGNATURES = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive (as are .docx, .xlsx and .pptx)"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
)
_SAMPLE = 1 << 16
_MAX_STRANGE = 0.02
"""Share of characters that no text has, above which a reading of the bytes is wrong."""
_MAX_ACCENTED = 0.3
"""Share of letters beyond ASCII, above which a text is not in a western 8-bit encoding."""

_CONTROLS = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ufeff\ufffe\uffff]")


def decode(content: bytes) -> str:
    """`content` as text: by its byte order mark, else UTF-8, UTF-16 or Windows-1252, whichever fits. Raises InvalidFile when none does."""
    for signature, name in _SIGNATURES:
        if content.startswith(signature):
            raise InvalidFile(f"The file is {name}, although its name says it is text. Upload it under its true name.")
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return _decode_marked(content[len(mark) :], encoding)
    for encoding in ("utf-8", "utf-16-le", "utf-16-be", "cp1252"):
        text = _try_decode(content, encoding)
        if text is not None and _looks_like_text(text, encoding):
            return text
    raise InvalidFile("The file is not text, or is in an encoding that could not be recognised. Save it as UTF-8 and upload it again.")


def clean(text: str) -> str:
    """Canonical form: "\\n" as the only line end, no control characters beyond tab and form feed."""
    return _CONTROLS.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _decode_marked(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise InvalidFile(f"The file's first bytes say that it is {encoding.upper()}, but byte {error.start:,} is not. Save it again as UTF-8.") from error


def _try_decode(content: bytes, encoding: str) -> str | None:
    if encoding.startswith("utf-16") and len(content) % 2:
        return None
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return None


def _looks_like_text(text: str, encoding: str) -> bool:
    sample = text[:_SAMPLE]
    num_strange = sum(_is_strange(character) for character in sample)
    if num_strange > _MAX_STRANGE * len(sample):
        return False
    if encoding == "cp1252":
        num_accented = sum(character > "\x7f" for character in sample if not character.isspace())
        return num_accented <= _MAX_ACCENTED * len(sample)
    # Any two bytes are some character of UTF-16, so a wrong guess reads as fluent nonsense, but it has no spaces.
    return encoding == "utf-8" or any(character in " \n。、" for character in sample)


def _is_strange(character: str) -> bool:
    return character not in "\t\n\r\f\x1b" and unicodedata.category(character) in {"Cc", "Cn", "Co", "Cs"}
