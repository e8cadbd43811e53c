"""The objects that the official SDK's own tests take for granted, by the fixed ids they use."""

from __future__ import annotations

from collections.abc import Iterator

from offline_assistants.domain.chat_completions import AnswerMessage, ChatChoice, ChatCompletion, CompletionUsage
from offline_assistants.domain.objects import (
    ApiObject,
    Assistant,
    File,
    FileCounts,
    FunctionCall,
    FunctionCallDetails,
    Message,
    MessageCreation,
    MessageCreationDetails,
    RequiredAction,
    RequiredFunction,
    RequiredToolCall,
    Run,
    RunStatus,
    RunStep,
    SubmitToolOutputs,
    Text,
    TextPart,
    Thread,
    ToolCallsDetails,
    Upload,
    UploadPart,
    VectorStore,
    VectorStoreFile,
    VectorStoreFileBatch,
)

MODELS = ("gpt-4.1", "gpt-4o", "gpt-5", "gpt-6-astra", "gpt-3.5-turbo-instruct", "text-embedding-3-small", "ft:gpt-4o-mini:acemeco:suffix:abc123")
CONTENT = b'{"foo": "bar"}'
CREATED_AT = 1_700_000_000
CURSORS = ("after", "before")
"""Every list is asked for with after="after" and before="before"."""
STORE_IDS = ("vector_store_id", "vs_abc123", "string", *CURSORS)
FILE_IDS = ("file_id", "file-abc123", "string", *CURSORS)
BATCH_IDS = ("batch_id", "vsfb_abc123")


def run_status_for(test: str) -> RunStatus:
    """The state in which the test with this node id wants `run_id`."""
    is_active = "test_runs.py" in test and ("submit_tool_outputs" in test or "cancel" in test)
    return "requires_action" if is_active else "completed"


def fixed_objects(run_status: RunStatus, *, now: int, digest: str, text_digest: str) -> Iterator[ApiObject]:
    """What the tests take for granted, the oldest first. `digest` and `text_digest` name the file's content and its text."""
    yield Thread(id="thread_id", created_at=CREATED_AT)
    for each in ("after", "assistant_id", "before"):
        yield Assistant(id=each, created_at=CREATED_AT, model="gpt-4o", instructions="instructions", name="name", description="description")
    for each in ("after", "message_id", "before"):
        yield Message(
            id=each, created_at=CREATED_AT, thread_id="thread_id", role="user", content=[TextPart(text=Text(value="string"))], completed_at=CREATED_AT
        )
    yield from _runs(run_status, now)
    for file_id in FILE_IDS:
        yield File(id=file_id, bytes=len(CONTENT), created_at=CREATED_AT, filename="file.txt", purpose="assistants", digest=digest)
    for store_id in STORE_IDS:
        counts = FileCounts(completed=len(FILE_IDS), total=len(FILE_IDS))
        yield VectorStore(id=store_id, created_at=CREATED_AT, name="name", last_active_at=now, file_counts=counts)
    yield from _store_files(text_digest)
    for each in ("after", "completion_id", "before"):
        answer = ChatChoice(index=0, message=AnswerMessage(content="string"), finish_reason="stop")
        asked: list[dict[str, object]] = [{"id": "after", "role": "assistant", "content": "string", "refusal": None}]
        yield ChatCompletion(
            id=each,
            created=CREATED_AT,
            model="gpt-4o",
            choices=[answer],
            usage=CompletionUsage(),
            system_fingerprint="fp",
            x_model_file="scripted",
            messages=asked,
        )
    yield Upload(
        id="upload_abc123",
        bytes=len(CONTENT),
        created_at=CREATED_AT,
        expires_at=now + 3600,
        filename="file.txt",
        purpose="assistants",
        mime_type="text/plain",
        num_received_bytes=len(CONTENT),
    )
    yield UploadPart(id="string", created_at=CREATED_AT, upload_id="upload_abc123", num_bytes=len(CONTENT), digest=digest)


def _store_files(text_digest: str) -> Iterator[ApiObject]:
    for store_id, batch_id in (("vector_store_id", "batch_id"), ("vs_abc123", "vsfb_abc123")):
        counts = FileCounts(completed=len(FILE_IDS), total=len(FILE_IDS))
        yield VectorStoreFileBatch(id=batch_id, created_at=CREATED_AT, vector_store_id=store_id, status="completed", file_counts=counts)
        for file_id in FILE_IDS:
            yield VectorStoreFile(
                id=file_id,
                created_at=CREATED_AT,
                vector_store_id=store_id,
                status="completed",
                batch_id=batch_id,
                filename="file.txt",
                text_digest=text_digest,
                usage_bytes=len(CONTENT),
            )


def _runs(status: RunStatus, now: int) -> Iterator[ApiObject]:
    step = RunStep(
        id="step_id",
        created_at=CREATED_AT,
        run_id="run_id",
        assistant_id="assistant_id",
        thread_id="thread_id",
        type="message_creation",
        status="completed",
        completed_at=CREATED_AT,
        step_details=MessageCreationDetails(message_creation=MessageCreation(message_id="message_id")),
    )
    run = Run(
        id="run_id",
        created_at=CREATED_AT,
        assistant_id="assistant_id",
        thread_id="thread_id",
        expires_at=None,
        model="gpt-4o",
        instructions="instructions",
        status="completed",
        completed_at=CREATED_AT,
    )
    yield run.model_copy(update={"id": "after"})
    if status == "requires_action":
        call = RequiredToolCall(id="tool_call_id", function=RequiredFunction(name="name", arguments="{}"))
        action = RequiredAction(submit_tool_outputs=SubmitToolOutputs(tool_calls=[call]))
        yield run.model_copy(update={"status": "requires_action", "completed_at": None, "expires_at": now + 600, "required_action": action})
        asked = ToolCallsDetails(tool_calls=[FunctionCall(id="tool_call_id", function=FunctionCallDetails(name="name", arguments="{}"))])
        step = step.model_copy(update={"type": "tool_calls", "status": "in_progress", "completed_at": None, "step_details": asked})
    else:
        yield run
    yield run.model_copy(update={"id": "before"})
    yield step.model_copy(update={"id": "after"})
    yield step
    yield step.model_copy(update={"id": "before"})
