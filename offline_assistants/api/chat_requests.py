"""The bodies of chat completions, completions and embeddings, checked field by field. Knows nothing of what is done with them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from offline_assistants.domain.chat_messages import ChatMessageIn, ChatToolChoice, ChatTools, FunctionCallChoice, Functions
from offline_assistants.domain.objects import JsonObjectFormat, JsonSchemaFormat, Metadata, ReasoningEffort, Shape, Temperature, TextFormat, TopP
from offline_assistants.ports import SamplingParams

Penalty = Annotated[float, Field(ge=-2, le=2)]
Seed = Annotated[int, Field(ge=-9223372036854776000, le=9223372036854776000)]
Stop = str | Annotated[list[str], Field(min_length=1, max_length=4)]
TokenId = Annotated[int, Field(ge=0)]


def _check_bias(bias: dict[str, float]) -> dict[str, float]:
    """Those that have an effect: a bias of 0 says nothing, whatever it is said of."""
    said = {token: value for token, value in bias.items() if value}
    for token in said:
        if not (token.isascii() and token.isdigit()):
            raise ValueError(f"the keys are ids of tokens, and {token[:20]!r} is not a whole number")
    return said


Bias = Annotated[dict[str, Annotated[float, Field(ge=-100, le=100)]], Field(max_length=1024), AfterValidator(_check_bias)]


class StreamOptions(Shape):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class Sampled(Shape):
    """What every request to a model may say of how tokens are chosen."""

    model: str
    temperature: Temperature | None = None
    top_p: TopP | None = None
    n: int | None = Field(default=None, ge=1, le=128)
    stop: Stop | None = None
    seed: Seed | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    logit_bias: Bias | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None

    @property
    def with_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self, *, max_tokens: int, top_logprobs: int | None, choice: int) -> SamplingParams:
        """For one of several choices, which have seeds of their own, or else all would be the same."""
        return SamplingParams(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            max_tokens=max_tokens,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            seed=None if self.seed is None else self.seed + choice,
            frequency_penalty=self.frequency_penalty or 0.0,
            presence_penalty=self.presence_penalty or 0.0,
            logit_bias=tuple({int(token): bias for token, bias in (self.logit_bias or {}).items()}.items()),
            top_logprobs=top_logprobs,
        )


class CreateChatCompletion(Sampled):
    messages: list[ChatMessageIn] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=0)
    max_completion_tokens: int | None = Field(default=None, ge=0)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    response_format: Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")] | None = None
    tools: ChatTools | None = None
    tool_choice: ChatToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: Functions | None = None
    function_call: Literal["none", "auto"] | FunctionCallChoice | None = None
    store: bool | None = None
    metadata: Metadata | None = None

    @property
    def offers_functions(self) -> bool:
        """The older form of tools, which `tools` replaced."""
        return self.functions is not None and not (self.tools is not None and self.function_call == "none")

    # Without effect; see ignored_parameters.py.
    audio: dict[str, Any] | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    moderation: dict[str, Any] | None = None
    prediction: dict[str, Any] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    reasoning_effort: ReasoningEffort | None = None
    safety_identifier: Annotated[str, StringConstraints(max_length=64)] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    web_search_options: dict[str, Any] | None = None


class ModifyChatCompletion(Shape):
    metadata: Metadata | None


Prompt = (
    str
    | Annotated[list[str], Field(min_length=1, max_length=2048)]
    | Annotated[list[TokenId], Field(min_length=1)]
    | Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1, max_length=2048)]
)


class CreateCompletion(Sampled):
    prompt: Prompt | None
    best_of: int | None = Field(default=None, ge=0, le=20)
    echo: bool | None = None
    logprobs: int | None = Field(default=None, ge=0, le=5)
    max_tokens: int | None = Field(default=None, ge=0)
    suffix: str | None = None


class CreateEmbedding(Shape):
    model: str
    input: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=2048)]
        | Annotated[list[TokenId], Field(min_length=1, max_length=2048)]
        | Annotated[list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1, max_length=2048)]
    )
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1)
    user: str | None = None
