"""What the catalog knows of a model before it is loaded. Shared by the catalog, which finds it, and the engine, which loads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
