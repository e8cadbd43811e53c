"""The models on this machine: finds GGUF files, reads their headers, checks packaged files against the catalog. Loads nothing, fetches nothing.

All methods of Catalog block (they read the disk): call them on a thread.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import re
import threading
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from offline_assistants.domain.model_memory import ModelShape
from offline_assistants.domain.models import AdapterFile, ModelFile, ProjectorFile, projector_fits
from offline_assistants.errors import EngineError, ModelNotLoaded, RequestError
from offline_assistants.gguf import Gguf, Header, read_gguf

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """An entry of catalog.toml whose package is installed."""

    model_id: str
    kind: str
    """"chat" or "embedding"."""
    root: Path
    """The package's folder."""
    path: Path
    """The model: a file, or a folder with several."""
    sha256: dict[str, str]
    """Of every file that is loaded; the keys are relative to `root`."""
    adapter: AdapterFile | None = None


class Catalog:
    def __init__(
        self,
        models_dir: Path,
        *more_dirs: Path,
        verified_path: Path | None = None,
        catalog_path: Path | None = None,
        digest_of: Callable[[Path], str | None] = lambda _: None,
        wants_adapter: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Folders that do not exist hold no models. `verified_path`: a file in which to remember what was verified, so that a start need not hash again.

        `digest_of`: what a file of the user must hash to; None for one that nobody has vouched for. `wants_adapter`: whether a packaged model is to have the
        adapter that it comes with.
        """
        self._digest_of, self._wants_adapter = digest_of, wants_adapter
        self._dirs = (models_dir, *more_dirs)
        self._verified = _Verified(verified_path)
        self._packaged = _read_catalog(catalog_path or _catalog_path())
        self._headers = _Headers()

    def list_files(self) -> list[ModelFile]:
        """Every chat model, by id. The user's own file comes before a packaged one of the same id."""
        models: dict[str, ModelFile] = {}
        for model in (*self._own_models(), *self._packaged_models()):
            known = models.setdefault(model.model_id, model)
            if known is not model and known.path != model.path:
                _log.warning("%s is not used: %s has the same name", model.path, known.path)
        return sorted(models.values(), key=lambda model: model.model_id)

    def verify(self, model: ModelFile) -> None:
        """Raises ModelNotLoaded when the file cannot be read, or is not the one that the catalog names or the user vouched for. May take minutes once."""
        if model.problem:
            advice = " Copy or download it again." if model.shape is None else ""
            raise ModelNotLoaded(f"The model file {model.path.name} cannot be used: {model.problem}.{advice}")
        if model.sha256 is not None:
            self._verified.check(model.path, model.sha256, advice="Install its package again.")
            if model.adapter is not None:
                self._verified.check(model.adapter.path, model.adapter.sha256, advice="Install offline-assistants again, or serve with --no-packaged-adapters.")
        elif (digest := self._digest_of(model.path)) is not None:
            retry = f"offline-assistants models verify {model.model_id} --sha256 SHA256"
            self._verified.check(model.path, digest, advice=f"Get it again; or, if it was meant to change, say so: {retry}")

    def remove(self, model: ModelFile) -> None:
        """Deletes a model of the user: all its parts, or a link to it and never what the link leads to.

        Raises RequestError for a packaged model, and for one that lies outside the models folders.
        """
        if model.sha256 is not None:
            raise RequestError(f"The model '{model.model_id}' belongs to an installed package. Uninstall that package to be rid of it.", param="model")
        folder = model.path.parent.resolve()
        if not any(folder.is_relative_to(models_dir.resolve()) for models_dir in self._dirs):
            raise RequestError(f"{model.path} leads out of the models folder, so it is not deleted. Delete it by hand.", param="model")
        try:
            for path in _parts(model.path, model.model_id) or [model.path]:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise EngineError(f"{model.path} cannot be deleted: {error.strerror}.") from error

    def verify_packaged(self) -> dict[str, str | None]:
        """What else of the packages is loaded, by name: what is wrong with it, None when it is what was published. Hashed anew."""
        found: dict[str, str | None] = {}
        for packaged in self._packaged:
            if packaged.kind == "embedding":
                found[packaged.model_id] = _difference({packaged.root / name: sha256 for name, sha256 in packaged.sha256.items()})
            if packaged.adapter is not None:
                found[f"{packaged.model_id} (adapter)"] = _difference({packaged.adapter.path: packaged.adapter.sha256})
        return found

    def embedder_id(self) -> str | None:
        """The name of the starter embedder; None when its package is not installed."""
        return next((packaged.model_id for packaged in self._packaged if packaged.kind == "embedding"), None)

    def embedder_path(self) -> Path | None:
        """The folder of the starter embedder, verified; None when its package is not installed. Raises ModelNotLoaded when a file of it differs."""
        for packaged in self._packaged:
            if packaged.kind == "embedding":
                for name, sha256 in packaged.sha256.items():
                    self._verified.check(packaged.root / name, sha256, advice="Install its package again.")
                return packaged.path
        return None

    def _own_models(self) -> Iterator[ModelFile]:
        for models_dir in self._dirs:
            paths = sorted(models_dir.rglob("*.gguf"), key=lambda path: (path.parent, path.name))
            for folder, files in groupby((path for path in paths if not path.is_dir()), lambda path: path.parent):
                yield from self._models_of(folder, list(files))

    def _models_of(self, folder: Path, paths: list[Path]) -> list[ModelFile]:
        """The models among the GGUF files of a folder, each with its projector. Of a model in parts, the first stands for all."""
        sets: dict[str, list[Path]] = {}
        for path in paths:
            sets.setdefault(_PART.sub("", path.stem), []).append(path)
        described = [_describe(parts, self._headers, model_id=model_id) for model_id, parts in sets.items()]
        models = [model for model in described if model is not None]
        projectors = [path for path in paths if _is_projector(path, self._headers.read(path)[0].header)]
        return [replace(model, projector=self._projector_of(model, projectors, is_alone=len(models) == 1)) for model in models]

    def _projector_of(self, model: ModelFile, paths: list[Path], *, is_alone: bool) -> ProjectorFile | None:
        """The projector with most of the model's name; one that names no model belongs to a model that is alone in its folder."""
        fits = {path: fit for path in paths if (fit := projector_fits(path.stem, model.model_id)) is not None and (fit or is_alone)}
        path = max(reversed(paths), key=lambda path: fits.get(path, -1), default=None)
        return ProjectorFile(path, self._headers.read(path)[1], _stat(path).st_size) if path in fits else None

    def _packaged_models(self) -> Iterator[ModelFile]:
        for packaged in self._packaged:
            if packaged.kind == "chat" and packaged.path.is_file():
                sha256 = packaged.sha256[packaged.path.relative_to(packaged.root).as_posix()]
                model = _describe([packaged.path], self._headers, model_id=packaged.model_id, sha256=sha256)
                if model is not None:
                    yield replace(model, adapter=self._adapter_of(packaged))

    def _adapter_of(self, packaged: PackagedModel) -> AdapterFile | None:
        """None also when its file is not there: then the model works as its makers left it."""
        adapter = packaged.adapter if self._wants_adapter(packaged.model_id) else None
        return adapter if adapter is not None and adapter.path.is_file() else None


_PART = re.compile(r"-(\d{5})-of-(\d{5})$")
_EMBEDDERS = {"bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "neo-bert", "modern-bert", "eurobert", "gemma-embedding", "t5encoder"}
"""Networks that give vectors and no text."""


def _describe(parts: list[Path], headers: _Headers, *, model_id: str, sha256: str | None = None) -> ModelFile | None:
    """A model of one file or several; None for a GGUF file that is no model of its own, such as an adapter or the eyes of one."""
    first, stats = parts[0], [_stat(part) for part in parts]
    found, problem = headers.read(first)
    if found.header.get("general.type", "model") != "model" or _is_projector(first, found.header):
        return None
    problem = problem or next((f"{part.name}: {why}" for part in parts[1:] if (why := headers.read(part)[1])), None) or _missing_part(parts)
    architecture = str(found.header.get("general.architecture", "")) or None
    context, template = found.header.get(f"{architecture}.context_length"), found.header.get("tokenizer.chat_template")
    if _is_embedder(found.header):
        problem = problem or "it is an embedding model, which gives vectors and no text"
    if architecture is None:
        problem = problem or "its header does not say which kind of model it is"
    return ModelFile(
        model_id,
        first,
        sum(stat.st_size for stat in stats),
        int(stats[0].st_mtime),
        sha256,
        context_tokens=context if isinstance(context, int) else None,
        architecture=architecture,
        problem=problem,
        quantization=found.quantization or None,
        shape=_shape(found, architecture, sum(headers.read(part)[0].weights_bytes for part in parts)) if architecture else None,
        template=template if isinstance(template, str) else None,
    )


def _missing_part(parts: list[Path]) -> str | None:
    """Of a model in parts: the first one that is not there."""
    found = [match for part in parts if (match := _PART.search(part.stem))]
    there = {int(match[1]) for match in found}
    missing = next((number for number in range(1, int(found[0][2]) + 1) if number not in there), None) if found else None
    return None if missing is None else f"part {missing} of {int(found[0][2])} is missing"


def _is_projector(path: Path, header: Header) -> bool:
    """Whether the file holds the eyes of a model: by its header or, when that cannot be read, by its name."""
    return header.get("general.architecture") == "clip" or "mmproj" in path.stem.lower()


def _is_embedder(header: Header) -> bool:
    architecture = header.get("general.architecture")
    pools = header.get(f"{architecture}.pooling_type", 0)
    return architecture in _EMBEDDERS or (isinstance(pools, int) and pools > 0) or header.get(f"{architecture}.attention.causal") is False


def _shape(found: Gguf, architecture: str, weights_bytes: int) -> ModelShape:
    def number(name: str, default: int = 0) -> int:
        value = found.header.get(f"{architecture}.{name}", default)
        return int(value) if not isinstance(value, str) else default

    embedding, layers, heads = number("embedding_length"), number("block_count"), number("attention.head_count")
    # One number for all layers, or a list with one for each: layers without attention have none.
    listed = found.lists.get(f"{architecture}.attention.head_count_kv")
    kv_heads = sum(map(int, listed)) if listed else layers * number("attention.head_count_kv", heads) // max(1, number("full_attention_interval", 1))
    per_head = embedding // heads if heads else 0
    values = kv_heads * (number("attention.key_length", per_head) + number("attention.value_length", per_head))
    widest = max(map(int, found.lists.get(f"{architecture}.feed_forward_length", [0])), default=0)
    return ModelShape(weights_bytes, values, embedding, number("feed_forward_length") or widest, found.lengths.get("tokenizer.ggml.tokens", 0))


class _Headers:
    """Headers of files, kept while a file has the same size and time of change: models are looked up with every request."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[int, int], Gguf, str | None]] = {}

    def read(self, path: Path) -> tuple[Gguf, str | None]:
        """The header, empty when it cannot be read, and what is wrong with the file."""
        stat = _stat(path)
        version = (stat.st_size, stat.st_mtime_ns)
        known = self._known.get(path)
        if known is None or known[0] != version:
            known = self._known[path] = (version, *_try_to_read(path))
        return known[1], known[2]


def _try_to_read(path: Path) -> tuple[Gguf, str | None]:
    try:
        return read_gguf(path), None
    except FileNotFoundError:
        return Gguf({}), "the file that it leads to is gone"
    except OSError as error:
        return Gguf({}), f"it cannot be read ({error.strerror})"
    except (ValueError, OverflowError, MemoryError) as error:
        return Gguf({}), str(error) or "its header is garbled"


def _stat(path: Path) -> os.stat_result:
    """Of what a link leads to; of the link itself when that is gone."""
    try:
        return path.stat()
    except OSError:
        return path.lstat()


def _parts(path: Path, model_id: str) -> list[Path]:
    """The files of a model in parts; none when it is one file."""
    return [part for part in path.parent.glob("*.gguf") if part.stem != model_id and _PART.sub("", part.stem) == model_id]


# ── The catalog ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _catalog_path() -> Path:
    here = Path(__file__).parent
    packaged = here / "_packaged" / "models" / "catalog.toml"
    return packaged if packaged.is_file() else here.parent / "models" / "catalog.toml"


def _read_catalog(path: Path) -> list[PackagedModel]:
    """The entries whose packages are installed."""
    entries = cast("list[dict[str, Any]]", tomllib.loads(path.read_text("utf-8"))["models"] if path.is_file() else [])
    models: list[PackagedModel] = []
    for entry in entries:
        # Finding a package runs none of its code; importing it would.
        spec = importlib.util.find_spec(entry["module"])
        for root in (spec.submodule_search_locations or [])[:1] if spec else []:
            named = entry.get("adapter")
            adapter = AdapterFile(path.parent / named["file"], named["sha256"]) if named else None
            models.append(PackagedModel(entry["id"], entry["kind"], Path(root), Path(root) / entry["path"], entry["sha256"], adapter))
    return models


def _difference(expected: Mapping[Path, str]) -> str | None:
    """Which of the files is not what it should be, in words; None when all are."""
    for path, sha256 in expected.items():
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return f"{path.name} cannot be read ({error.strerror})"
        if found != sha256:
            return f"{path.name} changed: it was {sha256}"
    return None


class _Verified:
    """Which files had which hash, remembered by path, size and time of change."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._hashes: dict[str, list[str | int]] | None = None

    def check(self, path: Path, sha256: str, *, advice: str) -> None:
        """Raises ModelNotLoaded when the file's hash is another."""
        with self._lock:
            found = self._hash_of(path)
        if found != sha256:
            raise ModelNotLoaded(f"{path} is not the file that it should be: its sha256 is {found}, not {sha256}. {advice}")

    def _hash_of(self, path: Path) -> str:
        hashes = self._hashes = self._read() if self._hashes is None else self._hashes
        try:
            stat = path.stat()
            known = hashes.get(str(path))
            if isinstance(known, list) and len(known) == 3 and known[1:] == [stat.st_size, stat.st_mtime_ns]:
                return str(known[0])
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelNotLoaded(f"{path} cannot be read: {error.strerror}.") from error
        hashes[str(path)] = [sha256, stat.st_size, stat.st_mtime_ns]
        self._write(hashes)
        return sha256

    def _read(self) -> dict[str, list[str | int]]:
        try:
            content: object = json.loads(self._path.read_text("utf-8")) if self._path else {}
        except (OSError, ValueError):
            return {}
        return cast("dict[str, list[str | int]]", content) if isinstance(content, dict) else {}

    def _write(self, hashes: dict[str, list[str | int]]) -> None:
        if self._path is None:
            return
        draft = self._path.with_suffix(f".{os.getpid()}.tmp")
        try:
            draft.write_text(json.dumps(hashes, indent=1), "utf-8")
            draft.replace(self._path)
        except OSError as error:
            _log.warning("what was verified could not be remembered: %s", error)
