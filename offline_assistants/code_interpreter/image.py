"""The sandbox image: where its build folder is, which tag it has, how it is built, also where no container registry answers, and how it travels."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from offline_assistants.code_interpreter.docker_engine import DockerEngine
from offline_assistants.code_interpreter.unpacked_image import remove_abandoned
from offline_assistants.errors import SandboxError, SandboxUnavailable

_REPOSITORY = "offline-assistants-sandbox"
_BASE_REPOSITORY, _BASE_TAG = "debian", "bookworm-slim"
_BASE_IMAGE = f"{_BASE_REPOSITORY}:{_BASE_TAG}"
_NOT_IN_THE_IMAGE = ("README.md", "seccomp.json")
_FROM_ELSEWHERE = (
    "An image is built by such an engine. One that was built on another machine is taken by `offline-assistants sandbox import FILE`, "
    "with bubblewrap (`sudo apt-get install bubblewrap`) also where there is no engine; `sandbox export FILE` writes it there."
)
_HOST_CERTIFICATES = Path("/usr/local/share/ca-certificates")


def sandbox_folder() -> Path:
    """The build folder: inside the package when installed, else beside it in the source tree. Raises SandboxUnavailable when there is neither."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_packaged" / "sandbox", package.parent / "sandbox"):
        if (folder / "Dockerfile").is_file():
            return folder
    raise SandboxUnavailable("code_interpreter is unavailable: this installation has no sandbox folder. Install offline-assistants again.")


def image_tag(folder: Path) -> str:
    """Names the image by everything that goes into it, so that a changed folder is a missing image and an unchanged one is never built twice."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and _is_in_image(path.relative_to(folder))):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode() + content)
    return f"{_REPOSITORY}:{digest.hexdigest()[:12]}"


async def build_image(report: Callable[[str], None], *, engine: DockerEngine | None = None) -> str:
    """Build the image unless it is there; its tag. `report` gets a line of progress at a time, on the event loop. Raises SandboxUnavailable, SandboxError."""
    used_engine = engine or DockerEngine()
    try:
        folder = sandbox_folder()
        tag = image_tag(folder)
        if await _is_built(used_engine, tag):
            report(f"The sandbox image {tag} is there.")
            return tag
        await _ensure_base_image(used_engine, report)
        with tempfile.TemporaryDirectory(prefix="offline-assistants-sandbox-") as temporary:
            context = Path(temporary) / "context"
            await asyncio.to_thread(_copy_context, folder, context)
            report(f"Building {tag}: some minutes the first time.")
            await used_engine.build(context, tag=tag, arguments={"BASE_IMAGE": _BASE_IMAGE}, report=report)
        report(f"The sandbox image {tag} is ready.")
        return tag
    finally:
        if engine is None:
            await used_engine.close()


async def _is_built(engine: DockerEngine, tag: str) -> bool:
    """Raises SandboxUnavailable, with where else an image can come from."""
    try:
        return await engine.has_image(tag)
    except SandboxUnavailable as error:
        raise SandboxUnavailable(f"{error.message} {_FROM_ELSEWHERE}") from error


async def export_image(path: Path, *, engine: DockerEngine) -> str:
    """Write the image to `path`, for a machine that can build none; its tag. What stood there is replaced once all is written.

    Raises SandboxUnavailable, SandboxError; then nothing is left behind.
    """
    tag = image_tag(sandbox_folder())
    if not await engine.has_image(tag):
        raise SandboxUnavailable("The sandbox image is not there. Run `offline-assistants sandbox build`.")
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        await asyncio.to_thread(remove_abandoned, path.parent, path.name)
        with partial.open("xb") as file:
            await engine.save_image(tag, file)
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        partial.replace(path)
    except OSError as error:
        raise SandboxError(f"{path} could not be written: {error.strerror or error}.") from error
    finally:
        partial.unlink(missing_ok=True)
    return tag


async def import_image(path: Path, *, engine: DockerEngine) -> str:
    """Hand what `export_image` wrote to the engine; its tag. Raises SandboxUnavailable, and SandboxError for anything but the image of this version."""
    tag = await check_archive(path)
    try:
        with path.open("rb") as file:
            await engine.load_image(file)
    except OSError as error:
        raise SandboxError(f"{path} could not be read: {error.strerror or error}.") from error
    if not await engine.has_image(tag):
        raise SandboxError(f"The container engine took {path}, but has no {tag} now. Write it again with `offline-assistants sandbox export`.")
    return tag


async def check_archive(path: Path) -> str:
    """The tag of the image that `export_image` wrote to `path`. Raises SandboxError for anything but the image of this version."""
    tag = image_tag(sandbox_folder())
    held = await asyncio.to_thread(_tags_in, path)
    if held != [tag]:
        raise SandboxError(
            f"{path} holds {', '.join(held) or 'an image without a name'}, but this version needs {tag}. "
            "Export it with the same version of offline-assistants, or run `offline-assistants sandbox build`."
        )
    return tag


async def older_images(*, engine: DockerEngine) -> list[str]:
    """The tags of images that other versions of the sandbox folder were built into."""
    tag = image_tag(sandbox_folder())
    return [each for each in await engine.image_tags(_REPOSITORY) if each != tag]


def _tags_in(path: Path) -> list[str]:
    """The tags in an archive of `docker save`. Raises SandboxError for what is none."""
    try:
        with tarfile.open(path, "r:") as archive:
            manifest = archive.extractfile("manifest.json")
            images: object = json.load(manifest) if manifest is not None else None
    except (tarfile.TarError, ValueError, KeyError) as error:
        raise SandboxError(f"{path} is not an image. Write one with `offline-assistants sandbox export FILE`.") from error
    except OSError as error:
        raise SandboxError(f"{path} could not be read: {error.strerror or error}.") from error
    return _tags_of(images)


def _tags_of(manifest: object) -> list[str]:
    """Empty unless there is exactly one image."""
    images = cast("list[object]", manifest) if isinstance(manifest, list) else []
    image = cast("dict[str, object]", images[0]) if len(images) == 1 and isinstance(images[0], dict) else {}
    tags = image.get("RepoTags")
    return [str(tag) for tag in cast("list[object]", tags)] if isinstance(tags, list) else []


def _is_in_image(path: Path) -> bool:
    return path.name not in _NOT_IN_THE_IMAGE and "__pycache__" not in path.parts and path.parts[0] != "certs"


def _copy_context(folder: Path, context: Path) -> None:
    """The folder, and the certificate authorities that this machine trusts beyond the usual ones (a proxy's own): the build stage needs them."""
    shutil.copytree(folder, context, ignore=shutil.ignore_patterns("__pycache__"))
    (context / "certs").mkdir(exist_ok=True)
    (context / "certs" / ".gitkeep").touch()  # COPY refuses an empty folder
    for certificate in sorted(_HOST_CERTIFICATES.rglob("*.crt")):
        shutil.copy(certificate, context / "certs" / certificate.name)


async def _ensure_base_image(engine: DockerEngine, report: Callable[[str], None]) -> None:
    if await engine.has_image(_BASE_IMAGE):
        return
    report(f"Pulling {_BASE_IMAGE}.")
    try:
        await engine.pull(_BASE_REPOSITORY, _BASE_TAG)
        failure = "the registry did not send it"
    except SandboxError as error:
        failure = error.message
    if await engine.has_image(_BASE_IMAGE):
        return
    report(f"It could not be pulled ({failure}). Making it with debootstrap instead.")
    await _make_base_image(engine, report)


async def _make_base_image(engine: DockerEngine, report: Callable[[str], None]) -> None:
    """The same Debian from its package mirror: debootstrap, then `docker import`."""
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        raise SandboxUnavailable(
            f"No container registry answers, and {_BASE_IMAGE} is not on this machine. Either load it (`docker load`), or let it be made from Debian's "
            "package mirror: `sudo apt-get install debootstrap`, then run `offline-assistants sandbox build` as root."
        )
    with tempfile.TemporaryDirectory(prefix="offline-assistants-base-") as temporary:
        root, archive = Path(temporary) / "root", Path(temporary) / "root.tar"
        try:
            await _run(["debootstrap", "--variant=minbase", "bookworm", str(root)], report)
            await _run(["tar", "-C", str(root), "-cf", str(archive), "."], report)
        finally:
            await asyncio.to_thread(shutil.rmtree, root, ignore_errors=True)
        await engine.import_image(archive, _BASE_REPOSITORY, _BASE_TAG)
    report(f"Made {_BASE_IMAGE}.")


async def _run(command: Sequence[str], report: Callable[[str], None]) -> None:
    """Raises SandboxError with the last line when the command fails. Cancelled, it ends the command."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, limit=1 << 20
    )
    last_line = ""
    try:
        if process.stdout is not None:
            async for line in process.stdout:
                last_line = line.decode(errors="replace").rstrip()
                report(last_line)
        if await process.wait() != 0:
            raise SandboxError(f"`{' '.join(command)}` failed: {last_line}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
