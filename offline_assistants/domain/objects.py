"""The API's objects: the one shape that goes over the wire and into the store. Knows nothing of HTTP, SQL or time.

Field by field these are the objects of the Assistants API v2. Fields that only this server has are marked as extensions; fields that never leave the
server are listed in a class's `private`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError


class Shape(BaseModel):
    """A frozen piece of an object. Unknown keys are refused, and so is text where a number is wanted."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        serialize_by_alias=True,
        validate_by_name=True,
        validate_by_alias=True,
        json_schema_serialization_defaults_required=True,
    )


class Sparse(Shape):
    """A piece whose unset keys are left out of the JSON instead of being null."""

    sent_as_null: ClassVar[frozenset[str]] = frozenset()
    """Fields that are in the JSON all the same."""

    @model_serializer(mode="wrap")
    def _without_nulls(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if value is not None or key in self.sent_as_null}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema of the fields, not of the serializer above; as it is sent, no key is null but those of `sent_as_null`."""
        schema = handler.resolve_ref_schema(handler(cast("CoreSchema", {key: value for key, value in core_schema.items() if key != "serialization"})))
        if handler.mode == "serialization":
            optional = {field.alias or name for name, field in cls.model_fields.items() if not field.is_required() and field.default is None}
            schema["required"] = [name for name in schema.get("required", []) if name not in optional - cls.sent_as_null]
        return schema


class ApiObject(Shape):
    """An object with an id, as a client sees it and as the store keeps it."""

    private: ClassVar[frozenset[str]] = frozenset()
    """Fields that the store keeps and no client sees."""
    left_out: ClassVar[frozenset[str]] = frozenset()
    """Fields that a client sees only when they say something."""

    id: str

    @property
    def key(self) -> str:
        """What the store finds it by."""
        return self.id

    def wire(self) -> dict[str, Any]:
        """The JSON that a client gets."""
        return self.model_dump(mode="json", exclude=set(self.private))

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema of what a client gets."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        schema["properties"] = {name: field for name, field in schema["properties"].items() if name not in cls.private}
        schema["required"] = [name for name in schema.get("required", []) if name not in cls.private | cls.left_out]
        return schema


DEFAULT_PROJECT = "default"


class RootObject(ApiObject):
    """An object that belongs to a project, and its children (a thread's messages and runs, a vector store's files) with it.

    Who makes one leaves `project` out: a commit through a project's view of the store sets it.
    """

    private: ClassVar[frozenset[str]] = frozenset({"project"})

    project: str = DEFAULT_PROJECT


ProjectName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class ApiKey(ApiObject):
    """A key to one project. The key itself is shown once and not kept."""

    private: ClassVar[frozenset[str]] = frozenset({"digest"})

    object: Literal["api_key"] = "api_key"
    created_at: int
    name: str | None = None
    project: ProjectName
    hint: str
    """How it begins and ends, so that people can tell their keys apart."""
    last_used_at: int | None = None
    digest: str
    """sha256, hex: 256 random bits need no slower hash."""


MAX_PAIRS = 16
Key = Annotated[str, StringConstraints(max_length=64)]
ShortText = Annotated[str, StringConstraints(max_length=512)]
Pairs = TypeVar("Pairs", bound=Mapping[str, Any])


def _check_number_of_pairs(value: Pairs) -> Pairs:
    if len(value) > MAX_PAIRS:
        text = "too many properties. Expected an object with at most {limit} properties, but got an object with {number} properties instead."
        raise PydanticCustomError("object_above_max_properties", text, {"limit": MAX_PAIRS, "number": len(value)})
    return value


Metadata = Annotated[dict[Key, ShortText], AfterValidator(_check_number_of_pairs), Field(json_schema_extra={"maxProperties": 16})]
FunctionName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(ge=0, le=1)]
ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

# ── Tools ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class RankingOptions(Sparse):
    ranker: Literal["auto", "default_2024_08_21"] = "auto"
    score_threshold: float = Field(ge=0, le=1)


class FileSearchOptions(Sparse):
    max_num_results: int | None = Field(default=None, ge=1, le=50)
    ranking_options: RankingOptions | None = None


class FunctionDefinition(Sparse):
    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class CodeInterpreterTool(Shape):
    type: Literal["code_interpreter"] = "code_interpreter"


class FileSearchTool(Sparse):
    type: Literal["file_search"] = "file_search"
    file_search: FileSearchOptions | None = None


class FunctionTool(Shape):
    type: Literal["function"] = "function"
    function: FunctionDefinition


Tool = Annotated[CodeInterpreterTool | FileSearchTool | FunctionTool, Field(discriminator="type")]


class NamedFunction(Shape):
    name: FunctionName


class NamedToolChoice(Sparse):
    type: Literal["function", "code_interpreter", "file_search"]
    function: NamedFunction | None = None


ToolChoice = Literal["none", "auto", "required"] | NamedToolChoice


class CodeInterpreterResources(Shape):
    file_ids: list[str] = Field(default=[], max_length=20)


class FileSearchResources(Shape):
    vector_store_ids: list[str] = Field(default=[], max_length=1)


class ToolResources(Sparse):
    code_interpreter: CodeInterpreterResources | None = None
    file_search: FileSearchResources | None = None

    def code_file_ids(self) -> list[str]:
        return self.code_interpreter.file_ids if self.code_interpreter else []

    def vector_store_ids(self) -> list[str]:
        return self.file_search.vector_store_ids if self.file_search else []


class TextFormat(Shape):
    type: Literal["text"] = "text"


class JsonObjectFormat(Shape):
    type: Literal["json_object"] = "json_object"


class JsonSchemaSpec(Sparse):
    name: FunctionName
    description: str | None = None
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class JsonSchemaFormat(Shape):
    type: Literal["json_schema"] = "json_schema"
    json_schema: JsonSchemaSpec


ResponseFormatOption = Literal["auto"] | Annotated[TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")]


class Assistant(RootObject):
    object: Literal["assistant"] = "assistant"
    created_at: int
    name: str | None = None
    description: str | None = None
    model: str
    instructions: str | None = None
    tools: list[Tool] = []
    top_p: float | None = 1.0
    temperature: float | None = 1.0
    reasoning_effort: ReasoningEffort | None = None
    tool_resources: ToolResources = ToolResources()
    metadata: Metadata = {}
    response_format: ResponseFormatOption = "auto"


class Thread(RootObject):
    object: Literal["thread"] = "thread"
    created_at: int
    metadata: Metadata = {}
    tool_resources: ToolResources = ToolResources()


# ── Messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class FileCitation(Sparse):
    file_id: str
    quote: str
    """The words of the file that support the sentence, exactly as they stand in its canonical text."""
    file_name: str | None = None
    """Extension."""
    page: int | None = None
    """Extension: the page that the quote begins on, or the sheet of a workbook, from 1."""
    slide: int | None = None
    """Extension: in place of `page` where the file is a presentation, from 1."""
    start_char: int | None = None
    """Extension: where the quote begins in the file's canonical text, in characters. GET /v1/vector_stores/{id}/files/{file_id}/content gives this text."""
    end_char: int | None = None
    """Extension: where it ends; that text from `start_char` to here is the quote."""

    def without_text(self) -> FileCitation:
        """What is left when the file is deleted."""
        return FileCitation(file_id=self.file_id, quote="")


class FileCitationAnnotation(Shape):
    type: Literal["file_citation"] = "file_citation"
    text: str
    start_index: int
    end_index: int
    file_citation: FileCitation


class FilePath(Shape):
    file_id: str


class FilePathAnnotation(Shape):
    type: Literal["file_path"] = "file_path"
    text: str
    start_index: int
    end_index: int
    file_path: FilePath


Annotation = Annotated[FileCitationAnnotation | FilePathAnnotation, Field(discriminator="type")]


class Text(Shape):
    value: str
    annotations: list[Annotation] = []


class TextPart(Shape):
    type: Literal["text"] = "text"
    text: Text


class ImageFile(Sparse):
    file_id: str
    detail: Literal["auto", "low", "high"] | None = None


class ImageFilePart(Shape):
    type: Literal["image_file"] = "image_file"
    image_file: ImageFile


class ImageUrl(Sparse):
    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImageUrlPart(Shape):
    type: Literal["image_url"] = "image_url"
    image_url: ImageUrl


ContentPart = Annotated[TextPart | ImageFilePart | ImageUrlPart, Field(discriminator="type")]


class AttachmentTool(Shape):
    type: Literal["code_interpreter", "file_search"]


class Attachment(Sparse):
    file_id: str
    tools: list[AttachmentTool] = []


MessageIncompleteReason = Literal["content_filter", "max_tokens", "run_cancelled", "run_expired", "run_failed"]


class MessageIncompleteDetails(Shape):
    reason: MessageIncompleteReason


class Message(ApiObject):
    object: Literal["thread.message"] = "thread.message"
    created_at: int
    assistant_id: str | None = None
    thread_id: str
    run_id: str | None = None
    status: Literal["in_progress", "incomplete", "completed"] = "completed"
    incomplete_details: MessageIncompleteDetails | None = None
    incomplete_at: int | None = None
    completed_at: int | None = None
    role: Literal["user", "assistant"]
    content: list[ContentPart] = []
    attachments: list[Attachment] = []
    metadata: Metadata = {}


# ── Runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

RunStatus = Literal["queued", "in_progress", "requires_action", "cancelling", "cancelled", "failed", "completed", "incomplete", "expired"]
ACTIVE: frozenset[RunStatus] = frozenset({"queued", "in_progress", "requires_action", "cancelling"})
"""While its run is in one of these, a thread takes no new messages and no second run."""

ErrorCode = Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]


class LastError(Shape):
    code: ErrorCode
    message: str


class PromptTokenDetails(Shape):
    cached_tokens: int = 0


class CompletionTokensDetails(Shape):
    reasoning_tokens: int = 0


class Usage(Shape):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_token_details: PromptTokenDetails = PromptTokenDetails()
    completion_tokens_details: CompletionTokensDetails = CompletionTokensDetails()

    def __add__(self, other: Usage) -> Usage:
        cached = self.prompt_token_details.cached_tokens + other.prompt_token_details.cached_tokens
        reasoning = self.completion_tokens_details.reasoning_tokens + other.completion_tokens_details.reasoning_tokens
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            total_tokens=self.total_tokens + other.total_tokens,
            prompt_token_details=PromptTokenDetails(cached_tokens=cached),
            completion_tokens_details=CompletionTokensDetails(reasoning_tokens=reasoning),
        )


class RequiredFunction(Shape):
    name: str
    arguments: str


class RequiredToolCall(Shape):
    id: str
    type: Literal["function"] = "function"
    function: RequiredFunction


class SubmitToolOutputs(Shape):
    tool_calls: list[RequiredToolCall]


class RequiredAction(Shape):
    type: Literal["submit_tool_outputs"] = "submit_tool_outputs"
    submit_tool_outputs: SubmitToolOutputs


class RunIncompleteDetails(Shape):
    reason: Literal["max_completion_tokens", "max_prompt_tokens"]


class TruncationStrategy(Shape):
    type: Literal["auto", "last_messages"] = "auto"
    last_messages: int | None = Field(default=None, ge=1, le=2**31 - 1)


class Run(ApiObject):
    private: ClassVar[frozenset[str]] = frozenset({"attempt"})

    object: Literal["thread.run"] = "thread.run"
    created_at: int
    assistant_id: str
    thread_id: str
    status: RunStatus = "queued"
    started_at: int | None = None
    expires_at: int | None
    cancelled_at: int | None = None
    failed_at: int | None = None
    completed_at: int | None = None
    required_action: RequiredAction | None = None
    last_error: LastError | None = None
    model: str
    instructions: str | None = None
    tools: list[Tool] = []
    tool_resources: ToolResources = ToolResources()
    metadata: Metadata = {}
    temperature: float | None = 1.0
    top_p: float | None = 1.0
    reasoning_effort: ReasoningEffort | None = None
    max_completion_tokens: int | None = None
    max_prompt_tokens: int | None = None
    truncation_strategy: TruncationStrategy = TruncationStrategy()
    incomplete_details: RunIncompleteDetails | None = None
    usage: Usage | None = None
    response_format: ResponseFormatOption = "auto"
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    x_model_file: str | None = None
    """Extension: the model's file, which `model` names or stands for."""
    attempt: int = 0
    """How often a server's end interrupted it."""


# ── Run steps ────────────────────────────────────────────────────────────────────────────────────────────────────────


class LogsOutput(Shape):
    type: Literal["logs"] = "logs"
    logs: str


class ImageOutputFile(Shape):
    file_id: str


class ImageOutput(Shape):
    type: Literal["image"] = "image"
    image: ImageOutputFile


CodeOutput = Annotated[LogsOutput | ImageOutput, Field(discriminator="type")]


class CodeFile(Shape):
    path: str
    file_id: str


class CodeInterpreterDetails(Shape):
    input: str
    outputs: list[CodeOutput] = []
    files: list[CodeFile] = []
    """Extension: the files that the code made, by the path the code used."""


class CodeInterpreterCall(Shape):
    id: str
    type: Literal["code_interpreter"] = "code_interpreter"
    code_interpreter: CodeInterpreterDetails


class SearchResultContent(Shape):
    type: Literal["text"] = "text"
    text: str


class SourceSection(Sparse):
    """A stretch of a file's canonical text, by offsets in characters, and where it stands in the original."""

    start: int
    end: int
    page: int | None = None
    heading: str | None = None


class FileSearchResult(Sparse):
    file_id: str
    file_name: str
    score: float
    content: list[SearchResultContent] | None = None
    """Always kept; sent only when a client asks with include[]."""
    sections: list[SourceSection] | None = None
    """Extension: the pages and headings that the passage stands under."""
    start_index: int | None = None
    """Extension: where the passage begins in the file's canonical text, in characters."""
    best_index: int | None = None
    """Extension: where the words begin that are nearest to the query, in characters of the canonical text."""

    def text(self) -> str:
        return "".join(content.text for content in self.content or [])

    def cut(self, num_characters: int) -> FileSearchResult:
        """The same with less text: from the words on that are nearest to the query."""
        start = (self.best_index or 0) - (self.start_index or 0)
        start = max(0, min(start, len(self.text()) - num_characters))
        text = self.text()[start : start + num_characters]
        return self.model_copy(update={"content": [SearchResultContent(text=text)], "start_index": (self.start_index or 0) + start})


class FileSearchDetails(Shape):
    ranking_options: RankingOptions | None = None
    results: list[FileSearchResult] = []
    query: str = ""
    """Extension: what the model searched for."""


class FileSearchCall(Shape):
    id: str
    type: Literal["file_search"] = "file_search"
    file_search: FileSearchDetails

    def without_content(self) -> FileSearchCall:
        results = [result.model_copy(update={"content": None}) for result in self.file_search.results]
        return self.model_copy(update={"file_search": self.file_search.model_copy(update={"results": results})})


class FunctionCallDetails(Shape):
    name: str
    arguments: str
    output: str | None = None


class FunctionCall(Shape):
    id: str
    type: Literal["function"] = "function"
    function: FunctionCallDetails


ToolCall = Annotated[CodeInterpreterCall | FileSearchCall | FunctionCall, Field(discriminator="type")]


class MessageCreation(Shape):
    message_id: str


class MessageCreationDetails(Shape):
    type: Literal["message_creation"] = "message_creation"
    message_creation: MessageCreation


class ToolCallsDetails(Shape):
    type: Literal["tool_calls"] = "tool_calls"
    tool_calls: list[ToolCall] = []


StepDetails = Annotated[MessageCreationDetails | ToolCallsDetails, Field(discriminator="type")]


class Truncation(Shape):
    """What of the thread the model did not read. Nothing of it is deleted."""

    num_dropped_messages: int = 0
    first_dropped_id: str | None = None
    last_dropped_id: str | None = None
    num_dropped_tool_calls: int = 0
    """Earlier calls of the same run."""
    num_cut_characters: int = 0
    """Of the newest outputs of code_interpreter, which are shortened in the middle when they would fill the context."""


class RunStep(ApiObject):
    left_out: ClassVar[frozenset[str]] = frozenset({"truncation"})

    object: Literal["thread.run.step"] = "thread.run.step"
    created_at: int
    run_id: str
    assistant_id: str
    thread_id: str
    type: Literal["message_creation", "tool_calls"]
    status: Literal["in_progress", "cancelled", "failed", "completed", "expired"] = "in_progress"
    cancelled_at: int | None = None
    completed_at: int | None = None
    expired_at: int | None = None
    expires_at: int | None = None
    failed_at: int | None = None
    last_error: LastError | None = None
    step_details: StepDetails
    usage: Usage | None = None
    metadata: Metadata = {}
    truncation: Truncation | None = None
    """Extension, absent when the model read the whole thread: what its prompt could not hold."""

    def wire(self, *, with_search_content: bool = False) -> dict[str, Any]:
        """Passages that were found are left out unless a client asks for them with include[]."""
        shown = self
        if not with_search_content and isinstance(self.step_details, ToolCallsDetails):
            calls = [call.without_content() if isinstance(call, FileSearchCall) else call for call in self.step_details.tool_calls]
            shown = self.model_copy(update={"step_details": ToolCallsDetails(tool_calls=calls)})
        return shown.model_dump(mode="json", exclude={"truncation"} if self.truncation is None else None)


# ── Files and vector stores ──────────────────────────────────────────────────────────────────────────────────────────

FilePurpose = Literal["assistants", "assistants_output", "batch", "batch_output", "fine-tune", "fine-tune-results", "vision", "user_data", "evals"]


class File(RootObject):
    private: ClassVar[frozenset[str]] = RootObject.private | {"digest"}

    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: FilePurpose
    status: Literal["uploaded", "processed", "error"] = "processed"
    status_details: str | None = None
    digest: str
    """The blob with its content (sha256, hex)."""


class FileExpiresAfter(Shape):
    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=2_592_000)


UploadStatus = Literal["pending", "completed", "cancelled", "expired"]


class Upload(RootObject):
    """A file that arrives in parts."""

    private: ClassVar[frozenset[str]] = RootObject.private | frozenset({"mime_type", "expires_after", "num_received_bytes", "part_ids"})

    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: FilePurpose
    status: UploadStatus = "pending"
    file: File | None = None
    mime_type: str
    expires_after: FileExpiresAfter | None = None
    """Of the file that it becomes."""
    num_received_bytes: int = 0
    """Of all parts, those that are sent twice included."""
    part_ids: list[str] = []
    """What it was completed with, in order."""

    def wire(self) -> dict[str, Any]:
        return super().wire() | {"file": self.file.wire() if self.file else None}

    def at(self, now: int) -> Upload:
        """The same as it is at a time: expired once `expires_at` has come."""
        return self if self.status != "pending" or now < self.expires_at else self.model_copy(update={"status": "expired"})


class UploadPart(ApiObject):
    private: ClassVar[frozenset[str]] = frozenset({"num_bytes", "digest"})

    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str
    num_bytes: int
    digest: str
    """The blob with its content (sha256, hex)."""


class FileCounts(Shape):
    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    total: int = 0


class ExpiresAfter(Shape):
    anchor: Literal["last_active_at"] = "last_active_at"
    days: int = Field(ge=1, le=365)

    def after(self, last_active_at: int) -> int:
        """When a vector store that was last used then expires."""
        return last_active_at + self.days * 86_400


class VectorStore(RootObject):
    object: Literal["vector_store"] = "vector_store"
    created_at: int
    name: Annotated[str, BeforeValidator(lambda name: name or "")] = ""
    """Empty when there is none: the clients' types have no null here."""
    description: str | None = None
    usage_bytes: int = 0
    file_counts: FileCounts = FileCounts()
    status: Literal["expired", "in_progress", "completed"] = "completed"
    expires_after: ExpiresAfter | None = None
    expires_at: int | None = None
    last_active_at: int | None = None
    metadata: Metadata = {}

    def used(self, now: int) -> VectorStore:
        """The same, active now: its expiry moves on. One that has expired stays so: its files are gone."""
        if self.status == "expired":
            return self
        return self.model_copy(update={"last_active_at": now, "expires_at": self.expires_after.after(now) if self.expires_after else None})

    def at(self, now: int) -> VectorStore:
        """The same as it is at a time: expired once `expires_at` has come."""
        return self if self.expires_at is None or now < self.expires_at else self.model_copy(update={"status": "expired"})


class StaticChunking(Shape):
    max_chunk_size_tokens: int = Field(default=800, ge=100, le=4096)
    chunk_overlap_tokens: int = Field(default=400, ge=0)


class StaticChunkingStrategy(Shape):
    type: Literal["static"] = "static"
    static: StaticChunking = StaticChunking()


class AutoChunkingStrategy(Shape):
    """Asked for as `auto`, answered as static 800/400."""

    type: Literal["auto"] = "auto"


ChunkingStrategy = Annotated[AutoChunkingStrategy | StaticChunkingStrategy, Field(discriminator="type")]

Attributes = Annotated[dict[Key, ShortText | bool | int | float], AfterValidator(_check_number_of_pairs)]


class FileError(Shape):
    code: Literal["server_error", "unsupported_file", "invalid_file"]
    message: str


FileStatus = Literal["in_progress", "completed", "cancelled", "failed"]


class VectorStoreFile(ApiObject):
    """A file in a vector store; its id is the file's."""

    private: ClassVar[frozenset[str]] = frozenset({"batch_id", "filename", "text_digest"})

    object: Literal["vector_store.file"] = "vector_store.file"
    usage_bytes: int = 0
    created_at: int
    vector_store_id: str
    status: FileStatus = "in_progress"
    last_error: FileError | None = None
    chunking_strategy: StaticChunkingStrategy = StaticChunkingStrategy()
    attributes: Attributes = {}
    batch_id: str | None = None
    filename: str
    text_digest: str | None = None
    """The blob with the canonical text and its sections, once parsed."""

    @property
    def key(self) -> str:
        return vector_store_file_key(self.vector_store_id, self.id)


def vector_store_file_key(vector_store_id: str, file_id: str) -> str:
    """What the store finds a file of a vector store by."""
    return f"{vector_store_id}/{file_id}"


class VectorStoreFileBatch(ApiObject):
    object: Literal["vector_store.files_batch"] = "vector_store.files_batch"
    created_at: int
    vector_store_id: str
    status: Literal["in_progress", "completed", "cancelled", "failed"] = "in_progress"
    file_counts: FileCounts = FileCounts()
