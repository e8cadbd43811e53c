"""What `models tune` found, kept beside the data: one JSON file, and a folder for the copies that it made. All methods block, for a moment.

What was found holds for one file as it was then, on this processor: anything else has to be tuned again, and is run by the defaults until then.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from offline_assistants.domain.models import ModelFile, Tuned


class Tunings:
    def __init__(self, path: Path) -> None:
        """`path`: the JSON file; it and its folder need not be there."""
        self._path = path
        self._machine = machine()

    @property
    def copies(self) -> Path:
        """The folder of the copies."""
        return self._path.with_name("tuned")

    def apply(self, files: list[ModelFile]) -> list[ModelFile]:
        """The same models, tuned where they were."""
        known = self._read()
        return [replace(file, tuned=self._tuned(file, known.get(file.model_id))) for file in files]

    def keep(self, file: ModelFile, tuned: Tuned) -> None:
        """From the next load on. A copy that is no longer wanted is deleted. Raises OSError."""
        entry = {"of": _identity(file), "machine": self._machine, "decode_threads": tuned.decode_threads, "prefill_threads": tuned.prefill_threads}
        if tuned.copy is not None:
            entry |= {"copy": tuned.copy.name, "copy_bytes": tuned.copy.stat().st_size}
        self._write({**self._read(), file.model_id: entry})

    def forget(self, model_id: str) -> bool:
        """The defaults again. False when nothing was known. Raises OSError."""
        known = self._read()
        if model_id not in known:
            return False
        self._write({name: entry for name, entry in known.items() if name != model_id})
        return True

    def _tuned(self, file: ModelFile, entry: object) -> Tuned | None:
        """None for what was found elsewhere, or of a file that has changed since, or what cannot be read."""
        if not isinstance(entry, dict):
            return None
        found = cast("dict[str, Any]", entry)
        decode, prefill = found.get("decode_threads"), found.get("prefill_threads")
        if found.get("of") != _identity(file) or found.get("machine") != self._machine or not isinstance(decode, int) or not isinstance(prefill, int):
            return None
        return Tuned(max(1, decode), max(1, prefill), self._copy(found))

    def _copy(self, entry: Mapping[str, Any]) -> Path | None:
        """None when there is none, or it is not as it was made."""
        name = entry.get("copy")
        if not isinstance(name, str) or name != Path(name).name:
            return None
        path = self.copies / name
        try:
            return path if path.stat().st_size == entry.get("copy_bytes") else None
        except OSError:
            return None

    def _read(self) -> dict[str, Any]:
        try:
            content: object = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return cast("dict[str, Any]", content) if isinstance(content, dict) else {}

    def _write(self, entries: Mapping[str, Any]) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._path.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(entries, indent=1), "utf-8")
        draft.replace(self._path)
        wanted = {cast("dict[str, Any]", entry).get("copy") for entry in entries.values() if isinstance(entry, dict)}
        for path in self.copies.glob("*.gguf"):
            if path.name not in wanted:
                path.unlink(missing_ok=True)


def machine() -> str:
    """The processor, and how many of its cores are ours."""
    return f"{_processor()}, {len(os.sched_getaffinity(0))} cores"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _identity(file: ModelFile) -> list[str | int]:
    return [str(file.path), file.size_bytes, file.created_at, *([file.adapter.sha256] if file.adapter else [])]
