"""The bodies that clients send, checked field by field. Knows nothing of what is done with them."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from offline_assistants.domain.attribute_filters import AttributeFilter
from offline_assistants.domain.objects import (
    Attachment,
    Attributes,
    ChunkingStrategy,
    ExpiresAfter,
    FileExpiresAfter,
    FunctionTool,
    ImageFilePart,
    ImageUrlPart,
    Metadata,
    ReasoningEffort,
    ResponseFormatOption,
    Shape,
    Temperature,
    Tool,
    ToolChoice,
    TopP,
    TruncationStrategy,
)
from offline_assistants.file_search.ranking import Weights

Name = Annotated[str, StringConstraints(max_length=256)]
Description = Annotated[str, StringConstraints(max_length=512)]
Instructions = Annotated[str, StringConstraints(max_length=256_000)]


def _check_tools(tools: list[Tool]) -> list[Tool]:
    names = [tool.function.name if isinstance(tool, FunctionTool) else tool.type for tool in tools]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"the tool {min(twice)!r} is there twice, and a function may not have the name of a built-in tool")
    if any(isinstance(tool, FunctionTool) and tool.function.name in ("code_interpreter", "file_search") for tool in tools):
        raise ValueError("a function may not have the name of a built-in tool")
    return tools


Tools = Annotated[list[Tool], Field(max_length=128), AfterValidator(_check_tools)]
MessageText = Annotated[str, StringConstraints(max_length=256_000)]
TokenLimit = Annotated[int, Field(ge=256, le=2**31 - 1)]
Limit = Annotated[int, Query(ge=0, le=100)]
"""0 is taken, as by the API's own specification: a page without objects."""
Order = Literal["asc", "desc"]
Include = Annotated[list[Literal["step_details.tool_calls[*].file_search.results[*].content"]], Query(alias="include[]")]


class CodeInterpreterResourcesIn(Shape):
    file_ids: list[str] = Field(default=[], max_length=20)


class VectorStoreIn(Shape):
    """A vector store to be made on the way."""

    file_ids: list[str] = []
    chunking_strategy: ChunkingStrategy | None = None
    metadata: Metadata | None = None


class FileSearchResourcesIn(Shape):
    vector_store_ids: list[str] = Field(default=[], max_length=1)
    vector_stores: list[VectorStoreIn] = Field(default=[], max_length=1)


class ToolResourcesIn(Shape):
    code_interpreter: CodeInterpreterResourcesIn | None = None
    file_search: FileSearchResourcesIn | None = None


class FileSearchResourcesChange(Shape):
    """On what exists already; a vector store is made on the way only with what is created."""

    vector_store_ids: list[str] = Field(default=[], max_length=1)


class ToolResourcesChange(Shape):
    code_interpreter: CodeInterpreterResourcesIn | None = None
    file_search: FileSearchResourcesChange | None = None


class CreateAssistant(Shape):
    model: str
    name: Name | None = None
    description: Description | None = None
    instructions: Instructions | None = None
    reasoning_effort: ReasoningEffort | None = None
    tools: Tools = []
    tool_resources: ToolResourcesIn | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    response_format: ResponseFormatOption | None = None


class ModifyAssistant(Shape):
    model: str | None = None
    name: Name | None = None
    description: Description | None = None
    instructions: Instructions | None = None
    reasoning_effort: ReasoningEffort | None = None
    tools: Tools | None = None
    tool_resources: ToolResourcesChange | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    response_format: ResponseFormatOption | None = None


class TextIn(Shape):
    type: Literal["text"] = "text"
    text: MessageText


ContentIn = Annotated[TextIn | ImageFilePart | ImageUrlPart, Field(discriminator="type")]


class CreateMessage(Shape):
    role: Literal["user", "assistant"]
    content: MessageText | Annotated[list[ContentIn], Field(min_length=1)]
    attachments: list[Attachment] | None = None
    metadata: Metadata | None = None


class ModifyMetadata(Shape):
    """A message or a run: nothing but its metadata can be changed."""

    metadata: Metadata | None = None


class CreateThread(Shape):
    messages: list[CreateMessage] = []
    tool_resources: ToolResourcesIn | None = None
    metadata: Metadata | None = None


class ModifyThread(Shape):
    tool_resources: ToolResourcesChange | None = None
    metadata: Metadata | None = None


class RunOptions(Shape):
    """What creating a run takes, with a thread or without."""

    assistant_id: str
    model: str | None = None
    reasoning_effort: ReasoningEffort | None = None
    instructions: str | None = None
    tools: Tools | None = None
    metadata: Metadata | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stream: bool | None = None
    max_prompt_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    truncation_strategy: TruncationStrategy | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool = True
    response_format: ResponseFormatOption | None = None


class CreateRun(RunOptions):
    additional_instructions: str | None = None
    additional_messages: list[CreateMessage] | None = None


class CreateThreadAndRun(RunOptions):
    thread: CreateThread = CreateThread()
    tool_resources: ToolResourcesChange | None = None


class ToolOutput(Shape):
    tool_call_id: str | None = None
    """May be left out where one call waits."""
    output: str = ""


class SubmitToolOutputs(Shape):
    tool_outputs: list[ToolOutput]
    stream: bool | None = None


UploadPurpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
"""Of files that clients make; the others are of files that the server makes."""


class CreateFile(Shape):
    """The fields of the form, beside the file."""

    purpose: UploadPurpose
    expires_after: FileExpiresAfter | None = None


class CreateUpload(Shape):
    filename: Annotated[str, StringConstraints(min_length=1)]
    purpose: UploadPurpose
    bytes: int = Field(ge=0)
    mime_type: str
    expires_after: FileExpiresAfter | None = None


class CompleteUpload(Shape):
    part_ids: list[str]
    md5: str | None = None


class CreateVectorStore(Shape):
    name: str | None = None
    description: str | None = None
    file_ids: list[str] = Field(default=[], max_length=500)
    expires_after: ExpiresAfter | None = None
    chunking_strategy: ChunkingStrategy | None = None
    metadata: Metadata | None = None


class ModifyVectorStore(Shape):
    name: str | None = None
    expires_after: ExpiresAfter | None = None
    metadata: Metadata | None = None


class CreateVectorStoreFile(Shape):
    file_id: str
    attributes: Attributes | None = None
    chunking_strategy: ChunkingStrategy | None = None


class ModifyVectorStoreFile(Shape):
    attributes: Attributes | None


class CreateFileBatch(Shape):
    file_ids: list[str] = Field(default=[], max_length=2000)
    files: list[CreateVectorStoreFile] = Field(default=[], max_length=2000)
    attributes: Attributes | None = None
    chunking_strategy: ChunkingStrategy | None = None


class HybridWeights(Shape):
    """What nearness in meaning and shared words count, in relation to each other."""

    embedding_weight: float = Field(ge=0)
    text_weight: float = Field(ge=0)

    @model_validator(mode="after")
    def _not_both_zero(self) -> HybridWeights:
        if not self.embedding_weight and not self.text_weight:
            raise ValueError("'embedding_weight' and 'text_weight' cannot both be 0")
        return self


class SearchRankingOptions(Shape):
    ranker: Literal["none", "auto", "default-2024-11-15"] = "auto"
    """`none`: nearness in meaning alone."""
    score_threshold: float = Field(default=0.0, ge=0, le=1)
    hybrid_search: HybridWeights | None = None

    def weights(self) -> Weights | None:
        if self.hybrid_search is not None:
            return Weights(self.hybrid_search.embedding_weight, self.hybrid_search.text_weight)
        return Weights(1.0, 0.0) if self.ranker == "none" else None


class SearchVectorStore(Shape):
    query: str | list[str]
    rewrite_query: bool = False
    max_num_results: int = Field(default=10, ge=1, le=50)
    filters: AttributeFilter | None = None
    ranking_options: SearchRankingOptions | None = None
