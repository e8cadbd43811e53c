"""Pictures in messages: which kinds there are, and what a data: URL holds. Nothing is ever fetched, so other URLs hold nothing."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote_to_bytes

from offline_assistants.errors import RequestError

MAX_PICTURE_BYTES = 20 * 2**20
_KINDS = "PNG, JPEG, GIF or WebP"
_SIGNATURES = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF87a", "image/gif"), (b"GIF89a", "image/gif"))
_DATA_URL = re.compile(r"data:(?P<type>[^;,]*)(?P<parameters>(?:;[^;,]*)*),", re.IGNORECASE)


class UnreadablePicture(RequestError):
    """The picture cannot be read. Send a PNG, JPEG, GIF or WebP picture as a file or as a data: URL."""

    code = "invalid_image"


def picture_type(content: bytes) -> str:
    """The MIME type that the bytes themselves show. Raises UnreadablePicture."""
    for signature, mime in _SIGNATURES:
        if content.startswith(signature):
            return mime
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    raise UnreadablePicture(f"This is not a picture that can be read: it is no {_KINDS}.")


def is_data_url(url: str) -> bool:
    return url[:5].lower() == "data:"


def read_data_url(url: str) -> bytes:
    """The picture in a data: URL. Takes a moment for a large one. Raises UnreadablePicture, saying what is wrong."""
    head = _DATA_URL.match(url)
    if head is None or not head["parameters"].lower().endswith(";base64"):
        raise UnreadablePicture("A picture in a data: URL begins with 'data:image/png;base64,' (or jpeg, gif, webp), and its bytes follow in base64.")
    encoded = url[head.end() :]
    if len(encoded) > 4 * MAX_PICTURE_BYTES // 3 + 4:
        raise UnreadablePicture(f"The picture is too large: a picture has at most {MAX_PICTURE_BYTES // 2**20} MB.")
    try:
        content = base64.b64decode(unquote_to_bytes(encoded) if "%" in encoded else encoded, validate=True)
    except (binascii.Error, ValueError):
        raise UnreadablePicture("The base64 of the data: URL is broken: it was cut off, or holds characters that do not belong there.") from None
    picture_type(content)
    return content


def check_url(url: str) -> None:
    """Whether a message may hold this image_url. Raises UnreadablePicture."""
    if is_data_url(url):
        read_data_url(url)
    elif not url.lower().startswith(("http://", "https://")):
        raise UnreadablePicture("An image_url is an http(s) or a data: URL.")
