"""Every setting of the server, with its environment variable and its command line option. Read by `cli` and `bootstrap` only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

HOSTED_NAMES = ("gpt-*", "chatgpt-*", "o1*", "o3*", "o4*", "davinci-002", "babbage-002", "text-embedding-*")


def _default_data_dir() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "offline-assistants"


class Settings(BaseSettings):
    """Each is set by the environment variable OFFLINE_ASSISTANTS_<NAME> or by `serve --<name>`; the option wins."""

    model_config = SettingsConfigDict(env_prefix="OFFLINE_ASSISTANTS_", extra="forbid", frozen=True)

    data_dir: Path = Field(default_factory=_default_data_dir, description="Where everything is kept: database, files, vectors.")
    models_dir: Path | None = Field(
        default=None, description="Where your GGUF files are; searched with all its subfolders. Default: models/ in the data directory."
    )
    host: str = Field(
        default="127.0.0.1",
        description="The address to listen on. The default is reachable from this machine only; any other requires keys.",
    )
    port: int = Field(default=8000, ge=0, le=65535, description="The port to listen on; 0 takes a free one.")
    allow_host: list[str] = Field(default=[], description="Further names that a Host header may carry, beside addresses and localhost.")
    allow_origin: list[str] = Field(default=[], description="Origins whose web pages may use the API, as https://app.example; * allows all.")
    require_keys: bool = Field(
        default=False,
        description="Refuse requests without a key of `offline-assistants keys create`. Else any key will do; an unknown one means the project default.",
    )
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error.")

    default_model: str | None = Field(
        default=None, description="The model that hosted names stand for. Default: the largest that you brought, or else the starter model."
    )
    model_aliases: list[str] = Field(
        default=list(HOSTED_NAMES),
        description="Names that stand for a model: PATTERN for the default model, or PATTERN=MODEL. One empty entry means none.",
    )
    context_tokens: int = Field(default=8192, ge=512, description="The most context that a model is loaded with; less when the model was trained with less.")
    max_sequences: int = Field(default=8, ge=1, le=64, description="How many answers one model decodes at once.")
    max_loaded_models: int = Field(
        default=3,
        ge=1,
        description="How many models stay in memory at most. One more, or one too large, pushes out whichever was idle longest.",
    )
    max_model_memory_bytes: int | None = Field(
        default=None, ge=1, description="Memory that models may take in all, in bytes, whatever is free. Default: what is free on the machine."
    )
    keep_alive_s: float = Field(default=1800.0, gt=0, description="Seconds after which an idle model leaves memory; inf keeps it.")
    max_waiting: int = Field(default=256, ge=0, description="How many more may wait for one model; beyond them a request is refused with 429.")
    kv_cache_tokens: int | None = Field(
        default=None, ge=512, description="Room for what is computed of prompts and answers, shared by all of a model. Default: twice the context."
    )
    kv_cache_type: Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"] = Field(
        default="f16",
        description="How that is kept. q8_0 takes half of f16's memory, q4_0 a quarter, each at some cost in quality and speed. With bf16 and the q types "
        "an answer at temperature 0 is the same whatever else is computed and was computed before; f16 and f32 are faster and may differ.",
    )
    prefix_disk_bytes: int = Field(
        default=2 * 1024**3,
        ge=0,
        description="Disk space for what models have computed of recent threads, so that they go on quickly after a restart; 0 keeps nothing. "
        "All of it goes when something is deleted.",
    )
    batch_tokens: int = Field(default=256, ge=32, le=8192, description="Tokens of prompts that are computed in one step; beside answers fewer, as fits.")
    flash_attention: Literal["auto", "on", "off"] = Field(default="auto", description="Flash attention: auto, on or off. Off refuses the q types of the cache.")
    gpu_layers: int | None = Field(
        default=None, ge=0, description="Layers of a model that a GPU computes, where llama.cpp was built for one. Default: all; 0: none."
    )
    mmap: bool = Field(default=True, description="Map model files into memory, so that they are read as needed and shared; else read them whole.")
    mlock: bool = Field(default=False, description="Keep the weights from being swapped out; needs a high enough `ulimit -l`.")
    lora: list[str] = Field(default=[], description="LoRA adapters, each as MODEL=PATH or MODEL=PATH:SCALE.")
    packaged_adapters: bool = Field(default=True, description="Load packaged models with the LoRA adapters that come with them, where --lora names no other.")
    decode_threads: int | None = Field(default=None, ge=1, description="Threads for decoding. Default: half of the cores, so that the machine stays usable.")
    prefill_threads: int | None = Field(default=None, ge=1, description="Threads for reading prompts. Default: all cores.")
    embed_threads: int = Field(default=1, ge=1, description="Threads for embedding documents and queries.")

    run_expires_after_s: int = Field(default=600, ge=1, description="Seconds until a run that waits for tool outputs, or in the queue, expires.")
    heartbeat_s: float = Field(default=15.0, gt=0, description="Seconds of silence after which a stream carries a comment, so that no proxy closes it.")
    max_answer_tokens: int = Field(default=4096, ge=16, description="How many tokens one answer or tool call may take.")
    max_tool_rounds: int = Field(default=8, ge=1, description="How often a run may call tools before it has to answer.")
    max_repeated_calls: int = Field(default=2, ge=1, description="How often a run may make the very same tool call before it has to answer.")

    max_file_bytes: int = Field(default=512 * 1024 * 1024, ge=1, description="The largest file that may be uploaded at once, in bytes.")
    max_upload_bytes: int = Field(default=8 * 1024**3, ge=1, description="The largest file that may be uploaded in parts, in bytes.")
    min_free_disk_bytes: int = Field(default=256 * 1024 * 1024, ge=0, description="With less free disk space than this, nothing new is accepted.")
    parse_timeout_s: float = Field(default=120.0, gt=0, description="Seconds that the parser of one file may take; of a scan, that one page may take.")
    parse_memory_bytes: int = Field(default=2 * 1024**3, gt=0, description="Memory that the parser of one file may take, in bytes.")
    ocr_languages: str = Field(
        default="",
        pattern=r"^[A-Za-z_+]*$",
        description="Languages of scanned pages, as tesseract names them: eng+deu. Default: those it has, or English if they are more than four.",
    )

    exact_search_windows: int = Field(
        default=150_000, ge=0, description="Up to so many windows a vector store is searched exactly, in memory; a larger one through its HNSW graph."
    )

    code_timeout_s: float = Field(default=60.0, gt=0, description="Seconds that one call of code_interpreter may take.")
    sandbox_engine: str = Field(
        default="auto",
        pattern="^(auto|docker|bubblewrap)$",
        description="What closes code off: docker, bubblewrap (weaker), or auto: Docker where an engine answers, else bubblewrap where it is installed.",
    )
    sandbox_memory_bytes: int = Field(default=1024**3, ge=256 * 1024**2, description="Memory of one thread's container, its files included, in bytes.")
    sandbox_idle_s: float = Field(default=1800.0, gt=0, description="Seconds after which an idle container is removed.")
    sandbox_max_age_s: float = Field(default=3600.0, gt=0, description="Seconds after which a container is replaced.")
    sandbox_max_sessions: int = Field(default=8, ge=1, description="How many containers there are at once; more threads wait.")
    sandbox_spares: int = Field(default=1, ge=0, description="How many containers are kept ready for new threads, once code has been wanted; 80 MB each.")
    sandbox_runtime: str | None = Field(default=None, description="Runtime that the engine shall use, such as runsc. Default: the engine's own.")
    docker_host: str | None = Field(default=None, description="Address of the Docker engine. Default: DOCKER_HOST, or the usual socket.")

    @property
    def models_path(self) -> Path:
        return self.models_dir or self.data_dir / "models"

    @property
    def sandbox_images(self) -> Path:
        """Where images are unpacked for bubblewrap."""
        return self.data_dir / "sandbox"

    @property
    def prefixes_path(self) -> Path:
        """What models have computed of recent threads."""
        return self.data_dir / "prefixes"

    @property
    def digests_path(self) -> Path:
        """What the user's model files must hash to."""
        return self.data_dir / "digests.json"

    @property
    def tunings_path(self) -> Path:
        """What `models tune` found."""
        return self.data_dir / "tuned.json"

    def wants_packaged_adapter(self, model_id: str) -> bool:
        """Whether a packaged model is loaded with the adapter that it comes with."""
        return self.packaged_adapters and all(adapter.partition("=")[0] != model_id for adapter in self.lora)

    @property
    def admin_socket(self) -> Path:
        """Commands reach the server here, whatever its port is."""
        return self.data_dir / "admin.sock"
