"""Where the base model is: the packaged GGUF that models/catalog.toml names, with its hash checked."""

from __future__ import annotations

import hashlib
import importlib.util
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODEL_ID = "smollm2-135m-instruct"


def base_model_path() -> Path:
    """The packaged GGUF. Exits when it is not installed, or is not the one that the catalog knows."""
    catalog = tomllib.loads((ROOT / "models" / "catalog.toml").read_text(encoding="utf-8"))
    entry = next(model for model in catalog["models"] if model["id"] == MODEL_ID)
    package = importlib.util.find_spec(entry["module"])
    folders = package.submodule_search_locations if package else None
    path = Path(folders[0] if folders else "") / entry["path"]
    if not path.is_file():
        raise SystemExit(f"The base model is not installed.  This helps:  pip install {entry['package']}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"][entry["path"]]:
        raise SystemExit(f"{path} is not the file that models/catalog.toml knows.")
    return path
