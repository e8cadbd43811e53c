"""From a picture's file to its pixels: the door to Pillow."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image, ImageOps

from offline_assistants.domain.pictures import UnreadablePicture

MAX_PIXELS = 80_000_000
_MAX_SIDE = 4096
_KINDS = ("PNG", "JPEG", "GIF", "WEBP")


@dataclass(frozen=True, slots=True)
class Pixels:
    width: int
    height: int
    rgb: bytes
    """Three bytes a pixel, row by row."""


def read_pixels(content: bytes) -> Pixels:
    """A PNG, JPEG, GIF (its first frame) or WebP, the right way up, on white where it is transparent. Raises UnreadablePicture.

    A picture with sides beyond 4096 is made smaller: no projector looks closer.
    """
    try:
        with Image.open(io.BytesIO(content), formats=_KINDS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise _too_large()
            image.draft("RGB", (_MAX_SIDE, _MAX_SIDE))
            image.load()
            upright = ImageOps.exif_transpose(image)
            upright.thumbnail((_MAX_SIDE, _MAX_SIDE))
            flat = _on_white(upright)
    except UnreadablePicture:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large() from error
    # Pillow's readers answer damage with errors of many kinds.
    except (OSError, ValueError, SyntaxError, TypeError, LookupError, ArithmeticError, EOFError) as error:
        raise UnreadablePicture(f"A picture cannot be read; the file is damaged ({error}). Send it again, or another one.") from error
    return Pixels(flat.width, flat.height, flat.tobytes())


def _too_large() -> UnreadablePicture:
    return UnreadablePicture(f"A picture has more than {MAX_PIXELS:,} pixels. Make it smaller.")


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    white.alpha_composite(layer)
    return white.convert("RGB")
