"""E-mail as saved by mail programs (.eml): who wrote to whom, when and about what, the body, the names of what was attached."""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from typing import cast

from offline_assistants.documents.formats.document_writer import DocumentWriter
from offline_assistants.documents.formats.html_page import write_html
from offline_assistants.documents.plain_text import decode
from offline_assistants.errors import InvalidFile
from offline_assistants.ports import ParsedDocument

_HEADERS = ("From", "To", "Cc", "Date", "Subject")
_MAX_NESTED = 20


def parse_eml(content: bytes, max_text_chars: int) -> ParsedDocument:
    message = email.message_from_bytes(content, policy=email.policy.default)
    if not any(name in message for name in _HEADERS):
        raise InvalidFile("The file is damaged or is no e-mail: it has none of the headers From, To, Cc, Date and Subject.")
    writer = DocumentWriter(max_text_chars)
    _write(message, writer, depth=0)
    return writer.finish()


def _write(message: EmailMessage, writer: DocumentWriter, *, depth: int) -> None:
    writer.heading(depth + 1, _header(message, "Subject"), is_shown=False)
    for index, name in enumerate(name for name in _HEADERS if _header(message, name)):
        (writer.line if index else writer.paragraph)(f"{name}: {_header(message, name)}")
    body = message.get_body(("plain", "html"))
    if body is not None:
        text = _text(cast("EmailMessage", body))
        if body.get_content_subtype() == "html":
            write_html(text, writer, has_title=False)
        else:
            writer.paragraph(text)
    for part in message.iter_attachments():
        _write_attachment(part, writer, depth)


def _write_attachment(part: EmailMessage, writer: DocumentWriter, depth: int) -> None:
    forwarded = part.get_payload(0) if part.get_content_type() == "message/rfc822" and part.is_multipart() else None
    if isinstance(forwarded, EmailMessage) and depth < _MAX_NESTED:
        _write(cast("EmailMessage", forwarded), writer, depth=depth + 1)
    elif name := part.get_filename():
        writer.paragraph(f"Attachment: {name}")


def _header(message: EmailMessage, name: str) -> str:
    """One line; empty when it is missing, or too broken to be read."""
    try:
        return " ".join(str(message.get(name, "")).split())
    except (ValueError, IndexError, AttributeError, TypeError):  # what the parser of the standard library raises for headers that no program writes
        return ""


def _text(part: EmailMessage) -> str:
    payload = part.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    try:
        return content.decode(part.get_content_charset("utf-8"))
    except (LookupError, UnicodeError):
        return decode(content)
