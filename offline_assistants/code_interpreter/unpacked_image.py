"""The sandbox image as a folder, for bubblewrap: unpacked once from what `docker save` writes. Needs no container engine.

The archive may come from anywhere, so nothing in it is written outside of the folder, and no device or setuid file is made of it.
"""

from __future__ import annotations

import glob
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from offline_assistants.errors import SandboxError

_DELETED = ".wh."
"""A layer names by this prefix what is no longer there of the layers below it. Source: OCI image specification, "Whiteouts"."""
_ALL_DELETED = ".wh..wh..opq"


@dataclass(frozen=True, slots=True)
class UnpackedImage:
    root: Path
    environment: dict[str, str]
    command: tuple[str, ...]
    working_folder: str


def unpacked_image(folder: Path, tag: str) -> UnpackedImage | None:
    """The image `tag` among those in `folder`; None when it is not there."""
    place = _place(folder, tag)
    try:
        config = cast("dict[str, Any]", json.loads((place / "image.json").read_text()))
        environment = dict(cast("str", each).split("=", 1) for each in config["Env"])
        return UnpackedImage(place / "root", environment, tuple(config["Entrypoint"]), config["WorkingDir"] or "/")
    except (OSError, ValueError, KeyError, TypeError):
        return None


def unpack_image(archive_path: Path, folder: Path, tag: str) -> None:
    """Unpack the one image of an archive as `tag`, beside those of other versions. Blocks for some seconds.

    Raises SandboxError; then nothing is left behind.
    """
    if not hasattr(tarfile, "tar_filter"):
        raise SandboxError("Unpacking the image needs Python 3.11.4 or newer.")
    place = _place(folder, tag)
    partial = folder / f".{place.name}.{os.getpid()}.part"
    try:
        remove_abandoned(folder, place.name)
        partial.mkdir(parents=True, mode=0o700)
        with tarfile.open(archive_path, "r:") as archive:
            image = cast("list[dict[str, Any]]", json.load(_member(archive, "manifest.json")))[0]
            for layer in cast("list[str]", image["Layers"]):
                with tarfile.open(fileobj=_member(archive, layer), mode="r:*") as layer_archive:
                    _unpack_layer(layer_archive, partial / "root")
            config = json.load(_member(archive, image["Config"]))["config"]
        (partial / "image.json").write_text(json.dumps({name: config.get(name) for name in ("Env", "Entrypoint", "WorkingDir")}))
        _remove(place)
        partial.rename(place)
    except (tarfile.TarError, ValueError, KeyError, IndexError, TypeError) as error:
        raise SandboxError(f"{archive_path} cannot be unpacked: {error}. Write it again with `offline-assistants sandbox export FILE`.") from error
    except OSError as error:
        raise SandboxError(f"{archive_path} could not be unpacked to {folder}: {error.strerror or error}.") from error
    finally:
        _remove(partial)


def remove_other_images(folder: Path, tag: str) -> list[str]:
    """Remove what other versions unpacked; the names of what went. A server of such a version must not be running. Raises SandboxError."""
    others = [path for path in folder.iterdir() if path != _place(folder, tag)] if folder.is_dir() else []
    try:
        for other in others:
            _remove(other)
    except OSError as error:
        raise SandboxError(f"{folder} could not be cleared: {error.strerror or error}.") from error
    return [path.name for path in others]


def remove_abandoned(folder: Path, name: str) -> None:
    """Remove every `.NAME.PID.part` in `folder` whose process is gone: it was killed before it could. Raises OSError."""
    for partial in folder.glob(f".{glob.escape(name)}.*.part"):
        maker = partial.name.removesuffix(".part").rpartition(".")[2]
        if maker.isdecimal() and not Path("/proc", maker).exists():
            _remove(partial)


def _place(folder: Path, tag: str) -> Path:
    return folder / tag.rpartition(":")[2]


def _member(archive: tarfile.TarFile, name: str) -> Any:
    member = archive.extractfile(name)
    if member is None:
        raise KeyError(f"{name} is no file")
    return member


def _unpack_layer(layer: tarfile.TarFile, root: Path) -> None:
    root.mkdir(exist_ok=True)
    for member in layer:
        path = PurePosixPath(member.name)
        if not path.name.startswith(_DELETED):
            continue
        gone = _inside(root, path if path.name == _ALL_DELETED else path.with_name(path.name.removeprefix(_DELETED)))
        if gone is not None:
            for each in gone.parent.iterdir() if path.name == _ALL_DELETED and gone.parent.is_dir() else [gone]:
                _remove(each)
    folders = list[tarfile.TarInfo]()
    for member in _wanted(layer, root):
        layer.extract(member, root, set_attrs=not member.isdir(), filter="tar")
        folders += [member] if member.isdir() else []
    for member in reversed(folders):  # at the end: a folder may be closed to its owner, and one that became a link may lead anywhere
        folder = _inside(root, PurePosixPath(member.name))
        if folder is not None and folder.is_dir() and not folder.is_symlink():
            folder.chmod(member.mode & 0o755)


def _wanted(layer: tarfile.TarFile, root: Path) -> Iterator[tarfile.TarInfo]:
    """Files, folders and links; what stood in their place is taken away first, or it would be written through."""
    for member in layer:
        if PurePosixPath(member.name).name.startswith(_DELETED) or not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
            continue
        if member.islnk() and not _is_own_file(root, member.linkname):
            raise ValueError(f"{member.name} is a hard link to {member.linkname}, which is no file of the image")
        existing = _inside(root, PurePosixPath(member.name))
        if existing is not None and not (member.isdir() and existing.is_dir() and not existing.is_symlink()):
            _remove(existing)
        yield member


def _is_own_file(root: Path, name: str) -> bool:
    """A file that was unpacked before: a hard link may lead to nothing else, since what is written to the link is written there."""
    path = _inside(root, PurePosixPath(name)) if not name.startswith("/") else None
    return path is not None and path.is_file() and not path.is_symlink()


def _inside(root: Path, path: PurePosixPath) -> Path | None:
    """Where `path` stands below `root`, its last part not followed; None where that is outside, or the root itself."""
    parent = Path(os.path.realpath(root / str(path.parent).lstrip("/")))
    if path.name in ("", ".", "..") or not parent.is_relative_to(os.path.realpath(root)):
        return None
    return parent / path.name


def _remove(path: Path) -> None:
    """A file, a link, or a folder with all that is in it; nothing when there is none. Raises OSError."""
    if path.is_dir() and not path.is_symlink():
        for folder, _, _ in os.walk(path):
            Path(folder).chmod(0o700)  # a folder of the image may be closed to its owner
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
