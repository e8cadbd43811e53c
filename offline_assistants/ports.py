"""The three things that compute for a run, as three Protocols: Engines, Documents, Sandbox.

All that compute are stateless towards the rest and may crash; all that is taken or returned could be sent over a wire.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol

from offline_assistants.domain.objects import JsonObjectFormat, JsonSchemaFormat, TextFormat

# ── Engines ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as the model sees it."""

    name: str
    description: str
    parameters: dict[str, Any]
    """JSON schema of the arguments. Ignored when `syntax` is "code"."""
    syntax: Literal["json", "code"] = "json"
    """"code": the argument is one program, written by the model as it is, with no JSON escaping around it."""


@dataclass(frozen=True, slots=True)
class ChatToolCall:
    """A call that the model made."""

    call_id: str
    name: str
    arguments: str
    """JSON text; the bare program for a tool whose syntax is "code"."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture in a message."""

    offset: int
    """Where it stands in the message's `content`, in characters."""
    source: str = ""
    """The file id or URL that it is read from, until it has been read."""
    content: bytes = b""
    """PNG, JPEG, GIF or WebP."""
    mime: str = ""


@dataclass(frozen=True, slots=True)
class ChatMessage:
    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ChatToolCall, ...] = ()
    """What an assistant called in this turn, after its `content`."""
    tool_call_id: str | None = None
    """For role "tool": the call that this is the result of."""
    pictures: tuple[Picture, ...] = ()
    """In order of `offset`. Only for a model whose `picture_tokens` are known."""


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    type: Literal["text", "json_object", "json_schema"] = "text"
    schema: dict[str, Any] | None = None

    @classmethod
    def asked(cls, by: str | TextFormat | JsonObjectFormat | JsonSchemaFormat | None) -> ResponseFormat:
        """As the API's `response_format` says it; "auto" and nothing mean text."""
        match by:
            case JsonObjectFormat():
                return cls("json_object")
            case JsonSchemaFormat(json_schema=spec):
                return cls("json_schema", spec.json_schema or {})
            case _:
                return cls()


@dataclass(frozen=True, slots=True)
class Chat:
    """Everything that a prompt is made of. The engine alone knows the model's template and its syntax of tool calls."""

    messages: tuple[ChatMessage, ...]
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = "auto"
    """"auto", "none", "required", or "=NAME": this tool and no other."""
    parallel_tool_calls: bool = True
    response_format: ResponseFormat = field(default_factory=ResponseFormat)
    reasoning_effort: str | None = None
    """How long to think, for models that do: "none", "minimal", "low", "medium", "high", ...; None: as the model's template has it."""


@dataclass(frozen=True, slots=True)
class RawPrompt:
    """A text to go on with as it stands: no template, no tools, and the words of control tokens are control tokens."""

    text: str | tuple[int, ...]
    """Or the ids of its tokens. Empty: a new document begins."""
    echo: bool = False
    """The text comes back before its continuation."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    max_tokens: int | None = None
    """None: up to the end of the context."""
    stop: tuple[str, ...] = ()
    seed: int | None = None
    """Any integer: the same seed, prompt and parameters bring the same answer."""
    frequency_penalty: float = 0.0
    """Taken from a token's logit for each time that the answer has it already."""
    presence_penalty: float = 0.0
    """Taken once from the logit of each token that the answer has already."""
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Added to the logits of these tokens, each of which is here once."""
    top_logprobs: int | None = None
    """With each token its log probability, and those of so many likeliest ones; None: without."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """How likely a token was to the model itself, before temperature, penalties, bias and grammar."""

    token: bytes
    """The bytes that it stands for; a control token's name."""
    logprob: float
    top: tuple[tuple[bytes, float], ...] = ()
    """The likeliest tokens in its place, likeliest first."""


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of the tokens that brought this text, if asked for. A token may bring no text yet: it then comes with the text that it belongs to."""


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """What the model writes for itself. It is no part of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    index: int
    """0 for the first call of this turn."""
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """The next piece of a call's `arguments` (see ChatToolCall)."""

    index: int
    fragment: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The last delta of every generation."""

    finish_reason: Literal["stop", "length", "tool_calls"]
    num_prompt_tokens: int
    num_completion_tokens: int
    num_cached_tokens: int
    """Prompt tokens that were in the KV cache already."""
    num_reasoning_tokens: int = 0
    """Completion tokens that were written for the model itself, those around them included."""


Delta = TextDelta | ReasoningDelta | ToolCallStarted | ToolCallDelta | Finished


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A model on this machine."""

    model_id: str
    created_at: int
    size_bytes: int
    is_loaded: bool
    context_tokens: int | None
    """What a prompt and its answer share; None until it is known."""
    file_name: str = ""
    """Of the file that answers."""
    is_packaged: bool = False
    """It came with a package, and only goes with it."""
    is_damaged: bool = False
    """It cannot be loaded; `problem` says why."""
    problem: str | None = None
    architecture: str | None = None
    quantization: str | None = None
    memory_bytes: int | None = None
    """What it takes when it is loaded, as reckoned from its file; None when that cannot be told."""
    takes_reasoning_effort: bool = False
    """Its chat template has a word for how long to think."""
    has_projector: bool = False
    """There is a projector beside it, with which it sees pictures."""
    picture_tokens: int | None = None
    """What one picture takes of the context, at most; None for a model that cannot see, or is not loaded."""
    picture_problem: str | None = None
    """Why it cannot see, though there is a projector for it: a sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class SlotState:
    """A place in a model's KV cache."""

    num_tokens: int
    """In the cache."""
    is_busy: bool
    num_pending_tokens: int = 0
    """Of the prompt that is read here; 1 while an answer is written."""
    num_answer_tokens: int = 0


@dataclass(frozen=True, slots=True)
class BatchState:
    """What a model is doing, and what it has done since it was loaded."""

    slots: tuple[SlotState, ...]
    num_waiting: int
    num_preempted: int
    """Of those that wait: they had a slot, and had to leave it."""
    num_steps: int
    num_prompt_tokens: int
    """That were computed, and not found in the cache."""
    num_sampled_tokens: int
    """Of answers; those that a grammar forces are not among them."""
    steps_s: float
    """All steps together, with all that is done around the computing."""
    compute_s: float
    """Of that, inside of the library that computes."""

    def __add__(self, other: BatchState) -> BatchState:
        """Of two workers together."""
        return BatchState(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in memory."""

    model_id: str
    process_id: int | None
    """Of its worker; None while there is none."""
    memory_bytes: int
    """What the worker has now, its weights included."""
    num_requests: int
    """That it works on now."""
    idle_s: float | None
    """Since its last answer ended; None while it works."""
    leaves_in_s: float | None
    """Until it leaves memory for want of requests; None while it works, or when it stays."""
    batch: BatchState | None = None
    """None while there is no worker, or when it does not say in time."""


class Engines(Protocol):
    """Generates chat turns for many callers at once. Knows each model's template and tool call syntax, so callers never see either."""

    def generate(self, model: str, prompt: Chat | RawPrompt, sampling: SamplingParams) -> AsyncGenerator[Delta]:
        """Text and tool calls as they are decoded; the last delta is Finished. Closing the generator cancels.

        Raises ModelNotFound, ModelNotLoaded, ContextOverflow, EngineBusy, EngineError (the worker died), RequestError (a schema that cannot be honoured,
        a token that the model does not have).
        """
        ...

    async def count_tokens(self, model: str, texts: Sequence[str]) -> list[int]:
        """Tokens of each text alone, without the template. Raises ModelNotFound, ModelNotLoaded, EngineError."""
        ...

    async def measure(self, model: str, prompt: Chat | RawPrompt) -> int:
        """Tokens of the whole rendered prompt, tools and template included. Raises like count_tokens."""
        ...

    async def load(self, model: str) -> ModelInfo:
        """The model, loaded, so `context_tokens` is known. Raises ModelNotFound, ModelNotLoaded."""
        ...

    async def list_models(self) -> list[ModelInfo]:
        """Every model that a request may name."""
        ...

    async def find(self, model: str) -> ModelInfo:
        """The model that answers to this name. Raises ModelNotFound."""
        ...

    async def list_loaded(self) -> list[LoadedModel]:
        """Those that are in memory, or on their way there."""
        ...

    async def unload(self, model: str) -> None:
        """Out of memory; the next request loads it again. Raises ModelNotFound, EngineBusy (it is answering)."""
        ...

    async def remove(self, model: str) -> None:
        """Forget the model and delete its file. Raises ModelNotFound, RequestError (packaged, or outside the models folder), EngineBusy (it is answering)."""
        ...


# ── Documents ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Section:
    """Where a stretch of the canonical text stands in the original."""

    start: int
    end: int
    page: int | None = None
    """From 1."""
    heading: str | None = None


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    text: str
    """The canonical text: every offset anywhere counts characters of it."""
    sections: tuple[Section, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """What the API calls a chunk, and the windows inside it that are embedded (an embedder sees far less than 800 tokens at once)."""

    start: int
    end: int
    windows: tuple[tuple[int, int], ...]


EmbeddingPurpose = Literal["text", "query", "passage"]


class Documents(Protocol):
    """Turns files into text and text into vectors."""

    async def warm(self) -> None:
        """Load what embedding needs, so that the next call does not wait for it. Raises SearchError."""
        ...

    async def model_name(self) -> str:
        """Names the embedding model by what it is made of: vectors of two names are not compared. Raises SearchError."""
        ...

    async def parse(self, filename: str, content: bytes) -> ParsedDocument:
        """Raises UnsupportedFile, InvalidFile (damaged, protected, empty, too large for its limits), SearchError (the parser itself)."""
        ...

    async def chunk(self, text: str, *, max_chunk_size_tokens: int, chunk_overlap_tokens: int) -> list[Chunk]:
        """Chunks in order of `start`; tokens are the embedder's. Raises SearchError."""
        ...

    async def embed(self, texts: Sequence[str], *, purpose: EmbeddingPurpose = "text") -> list[list[float]]:
        """One vector of length 1 for each text. Raises SearchError.

        Queries and passages are embedded with the words that the model expects before them; queries go before all else, passages may be a hair less exact.
        """
        ...

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The embedder's tokens of each text. Raises SearchError."""
        ...

    async def list_models(self) -> list[ModelInfo]:
        """The embedding model; none when it is not installed."""
        ...


# ── Sandbox ──────────────────────────────────────────────────────────────────────────────────────────────────────────


MAX_SANDBOX_BYTES = 256 * 2**20
"""Room for the files of one session, those that it is given and those that its code makes."""


@dataclass(frozen=True, slots=True)
class SandboxFile:
    """An input: appears as /mnt/data/<file_id> and as /mnt/data/<filename>, or at `path` alone."""

    file_id: str
    filename: str
    content: bytes
    path: str | None = None
    """For a file that the thread's code made in an earlier session: where it was, below /mnt/data."""


@dataclass(frozen=True, slots=True)
class Logs:
    """What the code printed, or the traceback of its exception, or why it was stopped: text for the model."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """A picture that the code showed (a figure left open, an image as last expression)."""

    content: bytes
    filename: str
    """Ends in .png."""


@dataclass(frozen=True, slots=True)
class FileMade:
    """A new or changed regular file below /mnt/data."""

    path: str
    """As the code sees it: /mnt/data/..., valid UTF-8, no dot segments."""
    content: bytes


@dataclass(frozen=True, slots=True)
class ExecutionEnded:
    """The last event of every execution."""

    status: Literal["ok", "error", "timeout", "crashed"]
    """"error": an exception; "timeout": stopped, variables kept where possible; "crashed": the interpreter died."""
    is_state_lost: bool = False
    """The logs say so to the model."""


ExecutionEvent = Logs | Image | FileMade | ExecutionEnded


class Sandbox(Protocol):
    """Runs a thread's Python code where it can do no harm."""

    def execute(
        self, thread_id: str, code: str, files: Sequence[SandboxFile], timeout_s: float, *, has_run_before: bool = False
    ) -> AsyncGenerator[ExecutionEvent]:
        """Logs, images and files as they come, ExecutionEnded last; an exception in the user's code is a result. Closing the generator interrupts the code.

        Variables and files last from call to call of a thread. `has_run_before`: it has run code; where that session is gone, the logs say so to the model.
        Raises SandboxUnavailable (no engine, no image), SandboxError.
        """
        ...

    async def files_of(self, thread_id: str) -> frozenset[str] | None:
        """The ids of the files that the thread's session was given; None when it has no session, so that the next call begins a new one."""
        ...

    async def warm(self) -> None:
        """Code is likely to run soon: prepare a session that the next new thread can have at once. Errors are left to the call itself."""
        ...

    async def close(self, thread_id: str) -> None:
        """End the thread's session, if there is one."""
        ...

    async def check(self) -> str | None:
        """None when code can run, else the sentence that says what is missing and what to do."""
        ...
