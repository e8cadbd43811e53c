"""Chat completions and completions as the API gives them, and what is kept of those that are stored. Knows nothing of engines or HTTP."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from offline_assistants.domain.objects import Metadata, RootObject, Shape, Sparse

# ── Usage ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class PromptDetails(Shape):
    audio_tokens: int = 0
    cached_tokens: int = 0


class CompletionDetails(Shape):
    accepted_prediction_tokens: int = 0
    audio_tokens: int = 0
    reasoning_tokens: int = 0
    rejected_prediction_tokens: int = 0


class CompletionUsage(Shape):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: PromptDetails = PromptDetails()
    completion_tokens_details: CompletionDetails = CompletionDetails()


# ── Chat completions ─────────────────────────────────────────────────────────────────────────────────────────────────


class LikelyToken(Shape):
    token: str
    logprob: float
    bytes: list[int] | None = None


class ChosenToken(LikelyToken):
    top_logprobs: list[LikelyToken] = []


class ChoiceLogprobs(Shape):
    content: list[ChosenToken] | None = None
    refusal: list[ChosenToken] | None = None


class FunctionCalled(Shape):
    name: str
    arguments: str


class MessageToolCall(Shape):
    id: str
    type: Literal["function"] = "function"
    function: FunctionCalled


class AnswerMessage(Sparse):
    sent_as_null: ClassVar[frozenset[str]] = frozenset({"content", "refusal"})

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    reasoning_content: str | None = None
    """Extension: what the model wrote for itself, for models that think."""
    annotations: list[dict[str, Any]] = []
    tool_calls: list[MessageToolCall] | None = None
    function_call: FunctionCalled | None = None


FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class ChatChoice(Shape):
    index: int
    message: AnswerMessage
    logprobs: ChoiceLogprobs | None = None
    finish_reason: FinishReason


class ChatCompletion(RootObject):
    private: ClassVar[frozenset[str]] = RootObject.private | {"messages"}

    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    """As it was asked for."""
    choices: list[ChatChoice]
    usage: CompletionUsage
    service_tier: Literal["default"] = "default"
    system_fingerprint: str
    metadata: Metadata = {}
    x_model_file: str
    """Extension: the file that answered."""
    messages: list[dict[str, Any]] = []
    """What was asked, as it was sent."""


# ── Completions ──────────────────────────────────────────────────────────────────────────────────────────────────────


class TextLogprobs(Shape):
    tokens: list[str] = []
    token_logprobs: list[float] = []
    top_logprobs: list[dict[str, float]] = []
    text_offset: list[int] = []


class TextChoice(Shape):
    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: Literal["stop", "length", "content_filter"]


class TextCompletion(Shape):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[TextChoice]
    usage: CompletionUsage
    system_fingerprint: str
    x_model_file: str
    """Extension: the file that answered."""
