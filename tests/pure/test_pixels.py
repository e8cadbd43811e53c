"""Pictures as pixels: every kind, the right way up, on white; damage in words."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from offline_assistants.domain.pictures import UnreadablePicture
from offline_assistants.engine.pixels import Pixels, read_pixels

RED, WHITE = b"\xff\x00\x00", b"\xff\xff\xff"


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(("mode", "colour"), [("RGB", "red"), ("RGBA", "red"), ("P", "red"), ("1", "white"), ("I;16", 65535), ("LA", (255, 0)), ("CMYK", 0)])
def test_every_mode_becomes_red_green_blue(mode: str, colour: str):
    kind = "JPEG" if mode == "CMYK" else "PNG"
    pixels = read_pixels(file_of(Image.new(mode, (3, 2), colour), kind))

    assert (pixels.width, pixels.height, len(pixels.rgb)) == (3, 2, 18)
    assert pixels.rgb[:3] == (RED if colour == "red" else WHITE)


def test_what_is_transparent_is_white():
    assert read_pixels(file_of(Image.new("RGBA", (1, 1), (0, 0, 0, 0)))) == Pixels(1, 1, WHITE)


def test_a_photograph_stands_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = read_pixels(file_of(Image.new("RGB", (30, 10)), "JPEG", exif=exif))

    assert (pixels.width, pixels.height) == (10, 30)


def test_a_large_picture_is_made_smaller():
    pixels = read_pixels(file_of(Image.new("L", (8192, 100))))

    assert (pixels.width, pixels.height) == (4096, 50)


@pytest.mark.parametrize("side", [9_100, 9_800, 20_000])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_unpacked(side: int):
    with pytest.raises(UnreadablePicture, match="more than 80,000,000 pixels"):
        read_pixels(file_of(Image.new("1", (side, side))))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a", file_of(Image.new("RGB", (50, 50)))[:60], b"BM" + bytes(60)])
def test_damage_is_said_in_words(content: bytes):
    with pytest.raises(UnreadablePicture, match="cannot be read; the file is damaged"):
        read_pixels(content)
