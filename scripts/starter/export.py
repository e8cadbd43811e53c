"""Writes the trained adapter as a GGUF that llama.cpp loads beside the base: `scripts/starter/export --run DIR --out FILE`. Reads it again, too."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFReader, GGUFWriter

from offline_assistants.domain.models import CHAT_FORMAT_KEY, ONLY_WITH_TOOLS_KEY
from scripts.starter.llama import ADAPTED, ALPHA, Llama


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/starter/export", description="Writes the adapter as GGUF.")
    parser.add_argument("--run", type=Path, default=Path("starter-run"), help="folder of train.py")
    parser.add_argument("--out", type=Path, default=Path("starter.lora.gguf"))
    arguments = parser.parse_args()
    state = torch.load(arguments.run / "checkpoint.pt", weights_only=True, map_location="cpu")
    write(state["model"], arguments.out, num_tokens=state["num_tokens"])
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.1f} MB after {state['num_tokens']:,} tokens")
    return 0


def write(state: dict[str, torch.Tensor], path: Path, *, num_tokens: int) -> None:
    """`state`: of llama.Llama, whose matrices lie as in the base's GGUF."""
    writer = GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", ALPHA)
    writer.add_name("offline-assistants starter adapter")
    writer.add_license("apache-2.0")
    writer.add_string(CHAT_FORMAT_KEY, "compact")
    writer.add_bool(ONLY_WITH_TOOLS_KEY, True)
    writer.add_uint64("offline_assistants.trained_tokens", num_tokens)
    for name, value in state.items():
        writer.add_tensor(_name_in_gguf(name), value.float().numpy().astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_into(model: Llama, path: Path) -> None:
    """What `write` wrote, in place of what the model has learned. Raises ValueError when it is another base's adapter."""
    written = {tensor.name: torch.tensor(tensor.data, dtype=torch.float32) for tensor in GGUFReader(path).tensors}
    wanted = model.state_dict()
    shapes = {_name_in_gguf(name): value.shape for name, value in wanted.items()}
    if {name: value.shape for name, value in written.items()} != shapes:
        raise ValueError(f"{path} is no adapter for this base and rank")
    model.load_state_dict({name: written[_name_in_gguf(name)] for name in wanted})


def _name_in_gguf(name: str) -> str:
    _, index, matrix, part = name.split(".")
    if matrix not in ADAPTED:
        raise ValueError(f"{name} is no part of an adapter")
    return f"blk.{index}.{matrix}.weight.lora_{part}"


if __name__ == "__main__":
    sys.exit(main())
