"""The API's objects: what a client gets, what stays here, what is refused, and that the official SDK reads them."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types import FileObject
from openai.types import VectorStore as SdkVectorStore
from openai.types.beta import Assistant as SdkAssistant
from openai.types.beta import Thread as SdkThread
from openai.types.beta.threads import Message as SdkMessage
from openai.types.beta.threads import Run as SdkRun
from openai.types.beta.threads.runs import RunStep as SdkRunStep
from openai.types.vector_stores import VectorStoreFile as SdkVectorStoreFile
from openai.types.vector_stores import VectorStoreFileBatch as SdkVectorStoreFileBatch
from pydantic import BaseModel, ValidationError

from offline_assistants.domain.objects import (
    ApiObject,
    Assistant,
    CodeFile,
    CodeInterpreterCall,
    CodeInterpreterDetails,
    CodeInterpreterTool,
    CompletionTokensDetails,
    File,
    FileCitation,
    FileCitationAnnotation,
    FilePath,
    FilePathAnnotation,
    FileSearchCall,
    FileSearchDetails,
    FileSearchResult,
    FileSearchTool,
    FunctionDefinition,
    FunctionTool,
    ImageFile,
    ImageFilePart,
    LogsOutput,
    Message,
    NamedFunction,
    NamedToolChoice,
    PromptTokenDetails,
    Run,
    RunStep,
    SearchResultContent,
    StaticChunking,
    Text,
    TextPart,
    Thread,
    ToolCallsDetails,
    ToolResources,
    Usage,
    VectorStore,
    VectorStoreFile,
    VectorStoreFileBatch,
)

AT = 1_700_000_000
ASSISTANT = Assistant(
    id="asst_1",
    created_at=AT,
    name="Größe 🦉",
    model="starter",
    tools=[
        CodeInterpreterTool(),
        FileSearchTool(),
        FunctionTool(function=FunctionDefinition(name="add", parameters={"type": "object", "properties": {}})),
    ],
    metadata={"team": "a"},
)
ANSWER = Text(
    value="It is 4【0:0†source】. See sandbox:/mnt/data/a.csv",
    annotations=[
        FileCitationAnnotation(text="【0:0†source】", start_index=7, end_index=19, file_citation=FileCitation(file_id="file-1", quote="It is 4")),
        FilePathAnnotation(text="sandbox:/mnt/data/a.csv", start_index=25, end_index=48, file_path=FilePath(file_id="file-2")),
    ],
)
MESSAGE = Message(
    id="msg_1",
    created_at=AT,
    thread_id="thread_1",
    role="assistant",
    content=[TextPart(text=ANSWER), ImageFilePart(image_file=ImageFile(file_id="file-3"))],
)
RUN = Run(
    id="run_1",
    created_at=AT,
    assistant_id="asst_1",
    thread_id="thread_1",
    model="starter",
    instructions="Be brief.",  # unset it is null, as in the real API, where the SDK's type wants a string
    expires_at=AT + 600,
    tools=ASSISTANT.tools,
    tool_choice=NamedToolChoice(type="function", function=NamedFunction(name="add")),
)
STEP = RunStep(
    id="step_1",
    created_at=AT,
    run_id="run_1",
    assistant_id="asst_1",
    thread_id="thread_1",
    type="tool_calls",
    step_details=ToolCallsDetails(
        tool_calls=[
            CodeInterpreterCall(
                id="call_1",
                code_interpreter=CodeInterpreterDetails(
                    input="print(4)", outputs=[LogsOutput(logs="4\n")], files=[CodeFile(path="/mnt/data/a.csv", file_id="file-2")]
                ),
            ),
            FileSearchCall(
                id="call_2",
                file_search=FileSearchDetails(
                    results=[FileSearchResult(file_id="file-1", file_name="a.md", score=0.9, content=[SearchResultContent(text="It is 4")])]
                ),
            ),
        ]
    ),
)
FILE = File(id="file-1", bytes=3, created_at=AT, filename="a.md", purpose="assistants", digest="0" * 64)
STORE_FILE = VectorStoreFile(id="file-1", created_at=AT, vector_store_id="vs_1", filename="a.md", batch_id="vsfb_1", text_digest="1" * 64)

OBJECTS: list[tuple[ApiObject, type[BaseModel]]] = [
    (ASSISTANT, SdkAssistant),
    (Thread(id="thread_1", created_at=AT), SdkThread),
    (MESSAGE, SdkMessage),
    (RUN, SdkRun),
    (STEP, SdkRunStep),
    (FILE, FileObject),
    (VectorStore(id="vs_1", created_at=AT, name="Manuals"), SdkVectorStore),  # null when unset, as above
    (STORE_FILE, SdkVectorStoreFile),
    (VectorStoreFileBatch(id="vsfb_1", created_at=AT, vector_store_id="vs_1"), SdkVectorStoreFileBatch),
]
BY_CLASS = pytest.mark.parametrize(("thing", "sdk_class"), OBJECTS, ids=lambda value: type(value).__name__ if isinstance(value, ApiObject) else "")


@BY_CLASS
def test_the_sdk_reads_every_object_and_finds_its_fields(thing: ApiObject, sdk_class: type[BaseModel]) -> None:
    read = sdk_class.model_validate(thing.wire(), strict=True)

    required = {name for name, field in sdk_class.model_fields.items() if field.is_required()}
    assert required <= set(thing.wire())
    assert read.model_dump()["id"] == thing.id


@BY_CLASS
def test_an_object_comes_back_from_the_store_as_it_went_in(thing: ApiObject, sdk_class: type[BaseModel]) -> None:
    kept = thing.model_dump_json()

    assert type(thing).model_validate_json(kept) == thing


@BY_CLASS
def test_what_is_private_is_kept_and_not_sent(thing: ApiObject, sdk_class: type[BaseModel]) -> None:
    assert thing.private <= set(thing.model_dump())
    assert not thing.private & set(thing.wire())


def test_an_object_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ASSISTANT.name = "Other"


def test_unset_keys_of_a_tool_are_left_out_and_those_of_an_assistant_are_null() -> None:
    wire = ASSISTANT.wire()

    assert wire["tools"][1] == {"type": "file_search"}
    assert wire["description"] is None
    assert wire["tool_resources"] == {}


def test_a_file_of_a_vector_store_is_found_by_both_ids() -> None:
    assert STORE_FILE.key == "vs_1/file-1"
    assert FILE.key == "file-1"


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({str(n): "" for n in range(17)}, "at most 16 properties, but got an object with 17"),
        ({"k" * 65: ""}, "at most 64 characters"),
        ({"k": "v" * 513}, "at most 512 characters"),
    ],
)
def test_metadata_over_a_limit_is_refused_with_the_limit(metadata: dict[str, str], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Thread(id="thread_1", created_at=AT, metadata=metadata)


def test_metadata_at_its_limits_is_taken() -> None:
    metadata = {f"{n:064}": "ü" * 512 for n in range(16)}

    assert Thread(id="thread_1", created_at=AT, metadata=metadata).metadata == metadata


@pytest.mark.parametrize(
    ("shape", "values"),
    [
        (FunctionDefinition, {"name": "no spaces"}),
        (FunctionDefinition, {"name": ""}),
        (FunctionDefinition, {"name": "n" * 65}),
        (ToolResources, {"code_interpreter": {"file_ids": ["file-1"] * 21}}),
        (ToolResources, {"file_search": {"vector_store_ids": ["vs_1", "vs_2"]}}),
        (ToolResources, {"browser": {}}),
        (StaticChunking, {"max_chunk_size_tokens": 99}),
        (StaticChunking, {"max_chunk_size_tokens": 4097}),
        (StaticChunking, {"chunk_overlap_tokens": -1}),
        (NamedToolChoice, {"type": "web_search"}),
    ],
)
def test_a_value_outside_of_its_limits_is_refused(shape: type[BaseModel], values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        shape.model_validate(values)


def test_usage_is_added_field_by_field() -> None:
    first = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3, prompt_token_details=PromptTokenDetails(cached_tokens=4))
    second = Usage(prompt_tokens=10, completion_tokens=20, total_tokens=30, completion_tokens_details=CompletionTokensDetails(reasoning_tokens=5))

    total = first + second

    assert (total.prompt_tokens, total.completion_tokens, total.total_tokens) == (11, 22, 33)
    assert (total.prompt_token_details.cached_tokens, total.completion_tokens_details.reasoning_tokens) == (4, 5)


def test_the_annotations_of_the_example_stand_where_they_say() -> None:
    assert [ANSWER.value[note.start_index : note.end_index] for note in ANSWER.annotations] == [note.text for note in ANSWER.annotations]
