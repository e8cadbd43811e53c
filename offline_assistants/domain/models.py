"""What the catalog knows of a model before it is loaded. Shared by the catalog, which finds it, and the engine, which loads it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from offline_assistants.domain.model_memory import ModelShape

CHAT_FORMAT_KEY = "offline_assistants.chat_format"
"""Where the header of a model or an adapter says which chat format it was trained on."""

ONLY_WITH_TOOLS_KEY = "offline_assistants.only_with_tools"
"""Where the header of an adapter says that it is of no use to chats without tools."""

_PRECISION = re.compile(r"[-._](?:bf16|fp?16|fp?32|i?q\d\w*)$")
_SEPARATORS = re.compile(r"[-._ ]+")


@dataclass(frozen=True, slots=True)
class ProjectorFile:
    """The eyes of a model: a GGUF file that turns pictures into what the model reads."""

    path: Path
    problem: str | None = None
    """Why it cannot be loaded, when its header already shows it."""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class AdapterFile:
    """A LoRA adapter that comes with a packaged model: a GGUF file that makes it better at its work here."""

    path: Path
    sha256: str
    """What the file must hash to before it is loaded."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """How a model is run best on this machine, as `models tune` found."""

    decode_threads: int
    prefill_threads: int
    copy: Path | None = None
    """The same weights in a form that this processor computes faster, with the model's adapter in them: it is loaded in place of the model's own file."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One GGUF file on this machine."""

    model_id: str
    path: Path
    size_bytes: int
    created_at: int
    """Unix seconds: when the file was last changed."""
    sha256: str | None = None
    """What the file must hash to before it is loaded; None for a file that the user brought."""
    context_tokens: int | None = None
    """The context that the model was trained with, as its header says."""
    architecture: str | None = None
    """llama.cpp's word for the network: "llama", "qwen3", ..."""
    problem: str | None = None
    """Why the file cannot be loaded, when its header already shows it."""
    projector: ProjectorFile | None = None
    """With which the model sees pictures."""
    quantization: str | None = None
    """The form of most of its weights: "Q4_K", "F16", ..."""
    shape: ModelShape | None = None
    """None while the file cannot be read."""
    template: str | None = None
    """Its chat template."""
    tuned: Tuned | None = None
    """None until it was tuned on this machine, as it is now."""
    adapter: AdapterFile | None = None
    """What it is loaded with."""

    @property
    def loaded_path(self) -> Path:
        """What is loaded."""
        return self.tuned.copy if self.tuned and self.tuned.copy else self.path


def projector_fits(name: str, model_id: str) -> int | None:
    """How many words of the model's name a projector's file name has: 0 when it names no model, None when it names another.

    Words are counted without "mmproj" and the precision: "mmproj-Qwen2.5-VL-3B-F16" has 4 of "Qwen2.5-VL-3B-Q4_K_M".
    """
    words = [word for word in _words(_PRECISION.sub("", name.lower())) if word != "mmproj"]
    if not words or words == ["model"]:
        return 0
    return len(words) if _words(model_id.lower())[: len(words)] == words else None


def _words(name: str) -> list[str]:
    return [word for word in _SEPARATORS.split(name) if word]
