"""What a data: URL holds, and what no picture is."""

from __future__ import annotations

import base64

import pytest

from offline_assistants.domain.pictures import MAX_PICTURE_BYTES, UnreadablePicture, check_url, picture_type, read_data_url

PNG = b"\x89PNG\r\n\x1a\n and so on"


@pytest.mark.parametrize(
    ("content", "mime"),
    [(PNG, "image/png"), (b"\xff\xd8\xff\xe0", "image/jpeg"), (b"GIF89a", "image/gif"), (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp")],
)
def test_a_picture_is_known_by_its_first_bytes(content: bytes, mime: str) -> None:
    assert picture_type(content) == mime


@pytest.mark.parametrize("content", [b"", b"<svg/>", b"%PDF-1.7", b"RIFF\x00\x00\x00\x00WAVE", b"GIF88a"])
def test_other_bytes_are_no_picture(content: bytes) -> None:
    with pytest.raises(UnreadablePicture, match="PNG, JPEG, GIF or WebP"):
        picture_type(content)


@pytest.mark.parametrize("head", ["data:image/png;base64,", "DATA:image/png;BASE64,", "data:;base64,", "data:image/png;charset=utf-8;base64,"])
def test_a_data_url_is_read(head: str) -> None:
    assert read_data_url(head + base64.b64encode(PNG).decode()) == PNG


def test_a_data_url_may_be_percent_encoded() -> None:
    encoded = base64.b64encode(PNG + b"\xff\xfe\xfb\xef").decode().replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")

    assert read_data_url(f"data:image/png;base64,{encoded}").startswith(PNG)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("data:image/png,abc", "begins with"),
        ("data:image/png;base64", "begins with"),
        ("data:image/png;base64,@@@@", "base64"),
        ("data:image/png;base64,iVBORw0KGg", "base64"),
        ("data:image/png;base64,é", "base64"),
        ("data:image/png;base64,aGVsbG8=", "no PNG"),
        ("data:image/png;base64," + "A" * (2 * MAX_PICTURE_BYTES), "too large"),
        ("file:///etc/passwd", "http"),
        ("", "http"),
    ],
)
def test_what_is_wrong_with_a_url_is_said(url: str, words: str) -> None:
    with pytest.raises(UnreadablePicture, match=words):
        check_url(url)


def test_an_address_in_the_network_may_be_kept() -> None:
    check_url("https://example.com/cat.png")
