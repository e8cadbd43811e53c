"""How the image gets to where code runs: into the Docker engine, or unpacked into a folder for bubblewrap."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from offline_assistants.code_interpreter.docker_engine import DockerEngine
from offline_assistants.code_interpreter.image import build_image, check_archive, export_image, image_tag, import_image, sandbox_folder
from offline_assistants.code_interpreter.unpacked_image import unpack_image, unpacked_image
from offline_assistants.errors import SandboxError, SandboxUnavailable


async def is_for_bubblewrap(engine_name: str, engine: DockerEngine) -> bool:
    """Whether code would run in bubblewrap. `engine_name`: "auto", "docker" or "bubblewrap", as in the settings."""
    if engine_name != "auto":
        return engine_name == "bubblewrap"
    try:
        await engine.ping()
    except SandboxError:
        return shutil.which("bwrap") is not None
    return False


async def build_unpacked(report: Callable[[str], None], *, engine: DockerEngine, images: Path) -> str:
    """The image, unpacked in `images` unless it is there; its tag. An engine builds it. Raises SandboxUnavailable, SandboxError."""
    tag = image_tag(sandbox_folder())
    if await asyncio.to_thread(unpacked_image, images, tag) is not None:
        report(f"The sandbox image {tag} is unpacked in {images}.")
        return tag
    try:
        await engine.ping()
    except SandboxError as error:
        raise SandboxUnavailable(
            "The image for bubblewrap is not there, and no Docker engine answers that could build it. On a machine that has one, with the same version of "
            "offline-assistants, run `offline-assistants sandbox export FILE`; here, `offline-assistants sandbox import FILE`."
        ) from error
    await build_image(report, engine=engine)
    await asyncio.to_thread(images.mkdir, parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=images) as folder:
        archive = Path(folder) / "image.tar"
        await export_image(archive, engine=engine)
        report(f"Unpacking it in {images}.")
        await asyncio.to_thread(unpack_image, archive, images, tag)
    return tag


async def import_unpacked(path: Path, *, images: Path) -> str:
    """Unpack what `export_image` wrote; its tag. Needs no engine. Raises SandboxError for anything but the image of this version."""
    tag = await check_archive(path)
    await asyncio.to_thread(unpack_image, path, images, tag)
    return tag


async def import_where_it_is_used(path: Path, *, engine_name: str, engine: DockerEngine, images: Path) -> str:
    """Into the engine, or unpacked for bubblewrap; its tag. Raises SandboxUnavailable, SandboxError."""
    if await is_for_bubblewrap(engine_name, engine):
        return await import_unpacked(path, images=images)
    return await import_image(path, engine=engine)
