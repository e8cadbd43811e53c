"""Models that are brought in: GGUF files linked or copied into the models folder, and the hashes that they had. Loads nothing. All functions block."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from offline_assistants.errors import RequestError
from offline_assistants.gguf import read_gguf

CHUNK_BYTES = 8 * 1024 * 1024
OLLAMA_MODEL = "application/vnd.ollama.image.model"
OLLAMA_PROJECTOR = "application/vnd.ollama.image.projector"
_PART = re.compile(r"-\d{5}-of-\d{5}$")
Advance = Callable[[int], None]
"""Called with so many bytes more."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A GGUF file and the name that it gets."""

    source: Path
    name: str
    """Ends in .gguf."""


def find_incoming(path: Path, *, name: str | None = None) -> list[Incoming]:
    """A file, with the other parts of its model; the GGUF files below a folder, such as LM Studio's; or Ollama's models. Raises RequestError.

    `name`: of the model, for a single one.
    """
    if not path.exists():
        raise RequestError(f"There is no {path}.")
    if path.is_dir():
        found = [*_in_ollama(path)] or [Incoming(file, file.name) for file in sorted(path.rglob("*.gguf")) if file.is_file()]
    else:
        stem = _PART.sub("", path.stem)
        parts = sorted(each for each in path.parent.glob("*.gguf") if _PART.search(each.stem) and _PART.sub("", each.stem) == stem)
        found = [Incoming(each, each.name if each.suffix == ".gguf" else f"{each.name}.gguf") for each in (parts if path in parts else [path])]
    if not found:
        raise RequestError(f"There are no GGUF files in {path}.")
    if name is None:
        return found
    if len({_PART.sub("", each.name.removesuffix(".gguf")) for each in found}) > 1:
        raise RequestError(f"There are {len(found)} models in {path}, and a name is for one. Leave it out, or name a file.")
    if not name or "/" in name or name.startswith("."):
        raise RequestError(f"'{name}' cannot be the name of a file.")
    return [Incoming(each.source, f"{name}{_part_of(each.name)}.gguf") for each in found]


def _part_of(name: str) -> str:
    match = _PART.search(name.removesuffix(".gguf"))
    return match[0] if match else ""


def _in_ollama(folder: Path) -> Iterator[Incoming]:
    """Ollama keeps a manifest for each name, and the files under their hashes."""
    root = folder / "manifests"
    for manifest in sorted(each for each in root.rglob("*") if each.is_file()):
        try:
            content = cast("dict[str, Any]", json.loads(manifest.read_text("utf-8")))
            layers = {layer["mediaType"]: folder / "blobs" / layer["digest"].replace(":", "-") for layer in content["layers"]}
        except (OSError, ValueError, KeyError, TypeError):
            continue
        name = f"{manifest.parent.name}-{manifest.name}"
        for kind, ending in ((OLLAMA_MODEL, ""), (OLLAMA_PROJECTOR, "-mmproj")):
            if kind in layers:
                yield Incoming(layers[kind], f"{name}{ending}.gguf")


def bring_in(incoming: Incoming, models_dir: Path, *, is_copied: bool, advance: Advance = lambda _: None) -> Path:
    """Link or copy a file into the models folder; what is already there stays. Raises RequestError when it is not a whole GGUF file, or the name is taken."""
    try:
        read_gguf(incoming.source)
    except (OSError, ValueError) as error:
        raise RequestError(f"{incoming.source} is not taken: {error}.") from error
    target = models_dir / incoming.name
    if target.exists() or target.is_symlink():
        if target.exists() and target.samefile(incoming.source):
            return target
        raise RequestError(f"There is a {target} already. Take another name: --name NAME.")
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        if is_copied:
            _copy(incoming.source, target, advance)
        else:
            target.symlink_to(incoming.source.resolve())
    except OSError as error:
        raise RequestError(f"{target} cannot be made: {error.strerror}.") from error
    return target


def _copy(source: Path, target: Path, advance: Advance) -> None:
    draft = target.with_name(f".{target.name}.{os.getpid()}.unfinished")
    if shutil.disk_usage(target.parent).free < source.stat().st_size:
        raise RequestError(f"There is no room for {source.name} in {target.parent}. Link it instead: leave --copy out.")
    try:
        with source.open("rb") as read, draft.open("xb") as written:
            while chunk := read.read(CHUNK_BYTES):
                written.write(chunk)
                advance(len(chunk))
            written.flush()
            os.fsync(written.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def sha256_of(path: Path, advance: Advance = lambda _: None) -> str:
    """Raises RequestError when the file cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                advance(len(chunk))
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()


class Digests:
    """The hashes that the user's files had when they came, or were verified first. A file that is garbled holds none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, file: Path) -> str | None:
        return self._read().get(str(file))

    def keep(self, file: Path, sha256: str) -> None:
        self._write({**self._read(), str(file): sha256})

    def forget(self, file: Path) -> None:
        """There is another file in its place now, or none."""
        known = self._read()
        if known.pop(str(file), None) is not None:
            self._write(known)

    def _write(self, known: dict[str, str]) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._path.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(known, indent=1), "utf-8")
        draft.replace(self._path)

    def _read(self) -> dict[str, str]:
        try:
            content: object = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return {str(key): str(value) for key, value in cast("dict[object, object]", content).items()} if isinstance(content, dict) else {}
