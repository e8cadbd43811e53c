"""What /openapi.json says beyond the signatures of the routes: names, answers, failures, and which answer leads where. Nothing here is asked when a route runs.

The names are the API's own operation ids. An operation that the hosted API did not have is marked `x-extension`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.routing import BaseRoute

from offline_assistants.domain.chat_completions import ChatCompletion, TextCompletion
from offline_assistants.domain.objects import (
    Assistant,
    File,
    Message,
    Run,
    RunStep,
    Thread,
    Upload,
    UploadPart,
    VectorStore,
    VectorStoreFile,
    VectorStoreFileBatch,
)

Schema = dict[str, Any]
_REF = "#/components/schemas/{model}"
_STRING, _TRUE, _FALSE = {"type": "string"}, {"const": True}, {"const": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One line of the table: the operation's name and what it answers with."""

    name: str
    one: type[BaseModel] | None = None
    page_of: type[BaseModel] | None = None
    deleted: str | None = None
    """The `object` of an answer that says that something is gone."""
    schema: Schema | None = None
    """For the few answers that are no objects of the domain."""
    is_content: bool = False
    """The bytes of a file."""
    streams: bool = False
    """Answers with events when the body, or the query of a GET, says `stream: true`."""
    is_extension: bool = False


def _closed(**properties: Schema) -> Schema:
    """An object with these keys and no others."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _partly(*, optional: Mapping[str, Schema], **properties: Schema) -> Schema:
    """An object with these keys, perhaps those optional ones, and no others."""
    return _closed(**properties) | {"properties": {**properties, **optional}}


def _const(value: str) -> Schema:
    return {"const": value}


def _list_of(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_MODEL = _closed(
    id=_STRING,
    object=_const("model"),
    created={"type": "integer"},
    owned_by=_STRING,
    kind={"enum": ["chat", "embedding"], "description": "Extension."},
    x_model_file={"type": ["string", "null"], "description": "Extension."},
    size_bytes={"type": "integer", "description": "Extension."},
    is_loaded={"type": "boolean", "description": "Extension."},
    context_tokens={"type": ["integer", "null"], "description": "Extension."},
    state={"enum": ["ready", "loaded", "damaged"], "description": "Extension."},
    problem={"type": ["string", "null"], "description": "Extension: why it cannot be loaded."},
    architecture={"type": ["string", "null"], "description": "Extension."},
    quantization={"type": ["string", "null"], "description": "Extension."},
    memory_bytes={"type": ["integer", "null"], "description": "Extension: what it takes when it is loaded."},
    sees_pictures={"type": "boolean", "description": "Extension."},
)
_TEXT = _closed(type=_const("text"), text=_STRING)
_EVENT: Schema = {
    "type": "object",
    "description": "One event of the stream; the data is JSON, that of the last one [DONE].",
    "properties": {"event": _STRING, "data": _STRING},
    "required": ["data"],
}
_ATTRIBUTES: Schema = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_FOUND = _closed(file_id=_STRING, filename=_STRING, score={"type": "number"}, attributes=_ATTRIBUTES, content=_list_of(_TEXT))
_COUNTS = _closed(**{name: {"type": "integer"} for name in ("in_progress", "completed", "failed", "cancelled", "total")})
_PROGRESS = _closed(
    object=_const("vector_store.progress"),
    id=_STRING,
    status={"enum": ["in_progress", "completed", "expired"]},
    file_counts=_COUNTS,
    files_at_work=_list_of(_closed(id=_STRING, share_done={"type": "number", "description": "How much of its text is embedded, 0 to 1."})),
)
_CALLED = _closed(name=_STRING, arguments=_STRING)
_BREAKPOINT: Schema = {"type": "object", "properties": {"mode": {}}}
_PART: Schema = {
    "anyOf": [
        _partly(type=_const("text"), text=_STRING, optional={"prompt_cache_breakpoint": _BREAKPOINT}),
        _partly(
            type=_const("image_url"),
            image_url=_partly(url=_STRING, optional={"detail": _STRING}),
            optional={"prompt_cache_breakpoint": _BREAKPOINT},
        ),
        _closed(type=_const("refusal"), refusal=_STRING),
    ]
}
_ASKED = _partly(
    id=_STRING,
    role={"enum": ["developer", "system", "user", "assistant", "tool", "function"]},
    content=_nullable(_STRING),
    refusal=_nullable(_STRING),
    content_parts=_nullable(_list_of(_PART)),
    optional={
        "name": _STRING,
        "annotations": _list_of({"type": "object"}),
        "tool_calls": _list_of(_closed(id=_STRING, type=_const("function"), function=_CALLED)),
        "function_call": _CALLED,
        "tool_call_id": _STRING,
    },
)
_EMBEDDINGS = _closed(
    object=_const("list"),
    data=_list_of(_closed(object=_const("embedding"), index={"type": "integer"}, embedding={"anyOf": [_list_of({"type": "number"}), _STRING]})),
    model=_STRING,
    usage=_closed(prompt_tokens={"type": "integer"}, total_tokens={"type": "integer"}),
    x_model_file={"type": "string", "description": "Extension."},
)

_ATTEMPTS = _closed(
    object=_const("list"),
    data=_list_of(_closed(object=_const("network_attempt"), created_at={"type": "integer"}, kind={"enum": ["connect", "send", "lookup"]}, address=_STRING)),
    num_attempts={"type": "integer"},
    watched_since={"type": ["integer", "null"]},
)


def _page(item: Schema) -> Schema:
    edge = _nullable(_STRING)
    return _closed(object=_const("list"), data=_list_of(item), first_id=edge, last_id=edge, has_more={"type": "boolean"})


def _search_page(kind: str, item: Schema, **more: Schema) -> Schema:
    return _closed(object=_const(kind), **more, data=_list_of(item), has_more=_FALSE, next_page={"type": "null"})


OPERATIONS: Mapping[str, Operation] = {
    "GET /v1/assistants": Operation(name="listAssistants", page_of=Assistant),
    "POST /v1/assistants": Operation(name="createAssistant", one=Assistant),
    "GET /v1/assistants/{assistant_id}": Operation(name="getAssistant", one=Assistant),
    "POST /v1/assistants/{assistant_id}": Operation(name="modifyAssistant", one=Assistant),
    "DELETE /v1/assistants/{assistant_id}": Operation(name="deleteAssistant", deleted="assistant.deleted"),
    "GET /v1/chat/completions": Operation(name="listChatCompletions", page_of=ChatCompletion),
    "POST /v1/chat/completions": Operation(name="createChatCompletion", one=ChatCompletion, streams=True),
    "GET /v1/chat/completions/{completion_id}": Operation(name="getChatCompletion", one=ChatCompletion),
    "POST /v1/chat/completions/{completion_id}": Operation(name="updateChatCompletion", one=ChatCompletion),
    "DELETE /v1/chat/completions/{completion_id}": Operation(name="deleteChatCompletion", deleted="chat.completion.deleted"),
    "GET /v1/chat/completions/{completion_id}/messages": Operation(name="getChatCompletionMessages", schema=_page(_ASKED)),
    "POST /v1/completions": Operation(name="createCompletion", one=TextCompletion, streams=True),
    "POST /v1/embeddings": Operation(name="createEmbedding", schema=_EMBEDDINGS),
    "GET /v1/files": Operation(name="listFiles", page_of=File),
    "POST /v1/files": Operation(name="createFile", one=File),
    "GET /v1/files/{file_id}": Operation(name="retrieveFile", one=File),
    "DELETE /v1/files/{file_id}": Operation(name="deleteFile", deleted="file"),
    "GET /v1/files/{file_id}/content": Operation(name="downloadFile", is_content=True),
    "GET /v1/models": Operation(name="listModels", schema=_closed(object=_const("list"), data=_list_of(_MODEL))),
    "GET /v1/models/{model}": Operation(name="retrieveModel", schema=_MODEL),
    "DELETE /v1/models/{model}": Operation(name="deleteModel", deleted="model"),
    "GET /v1/threads": Operation(name="listThreads", page_of=Thread, is_extension=True),
    "POST /v1/threads": Operation(name="createThread", one=Thread),
    "POST /v1/threads/runs": Operation(name="createThreadAndRun", one=Run, streams=True),
    "GET /v1/threads/{thread_id}": Operation(name="getThread", one=Thread),
    "POST /v1/threads/{thread_id}": Operation(name="modifyThread", one=Thread),
    "DELETE /v1/threads/{thread_id}": Operation(name="deleteThread", deleted="thread.deleted"),
    "GET /v1/threads/{thread_id}/messages": Operation(name="listMessages", page_of=Message),
    "POST /v1/threads/{thread_id}/messages": Operation(name="createMessage", one=Message),
    "GET /v1/threads/{thread_id}/messages/{message_id}": Operation(name="getMessage", one=Message),
    "POST /v1/threads/{thread_id}/messages/{message_id}": Operation(name="modifyMessage", one=Message),
    "DELETE /v1/threads/{thread_id}/messages/{message_id}": Operation(name="deleteMessage", deleted="thread.message.deleted"),
    "GET /v1/threads/{thread_id}/runs": Operation(name="listRuns", page_of=Run),
    "POST /v1/threads/{thread_id}/runs": Operation(name="createRun", one=Run, streams=True),
    "GET /v1/threads/{thread_id}/runs/{run_id}": Operation(name="getRun", one=Run),
    "POST /v1/threads/{thread_id}/runs/{run_id}": Operation(name="modifyRun", one=Run),
    "POST /v1/threads/{thread_id}/runs/{run_id}/cancel": Operation(name="cancelRun", one=Run),
    "GET /v1/threads/{thread_id}/runs/{run_id}/steps": Operation(name="listRunSteps", page_of=RunStep),
    "GET /v1/threads/{thread_id}/runs/{run_id}/steps/{step_id}": Operation(name="getRunStep", one=RunStep),
    "POST /v1/threads/{thread_id}/runs/{run_id}/submit_tool_outputs": Operation(name="submitToolOuputsToRun", one=Run, streams=True),
    "GET /v1/network_attempts": Operation(name="listNetworkAttempts", schema=_ATTEMPTS, is_extension=True),
    "POST /v1/uploads": Operation(name="createUpload", one=Upload),
    "POST /v1/uploads/{upload_id}/parts": Operation(name="addUploadPart", one=UploadPart),
    "POST /v1/uploads/{upload_id}/complete": Operation(name="completeUpload", one=Upload),
    "POST /v1/uploads/{upload_id}/cancel": Operation(name="cancelUpload", one=Upload),
    "GET /v1/vector_stores": Operation(name="listVectorStores", page_of=VectorStore),
    "POST /v1/vector_stores": Operation(name="createVectorStore", one=VectorStore),
    "GET /v1/vector_stores/{vector_store_id}": Operation(name="getVectorStore", one=VectorStore),
    "POST /v1/vector_stores/{vector_store_id}": Operation(name="modifyVectorStore", one=VectorStore),
    "DELETE /v1/vector_stores/{vector_store_id}": Operation(name="deleteVectorStore", deleted="vector_store.deleted"),
    "GET /v1/vector_stores/{vector_store_id}/progress": Operation(name="getVectorStoreProgress", schema=_PROGRESS, streams=True, is_extension=True),
    "POST /v1/vector_stores/{vector_store_id}/reindex": Operation(name="reindexVectorStore", one=VectorStore, is_extension=True),
    "POST /v1/vector_stores/{vector_store_id}/search": Operation(
        name="searchVectorStore", schema=_search_page("vector_store.search_results.page", _FOUND, search_query=_list_of(_STRING))
    ),
    "GET /v1/vector_stores/{vector_store_id}/files": Operation(name="listVectorStoreFiles", page_of=VectorStoreFile),
    "POST /v1/vector_stores/{vector_store_id}/files": Operation(name="createVectorStoreFile", one=VectorStoreFile),
    "GET /v1/vector_stores/{vector_store_id}/files/{file_id}": Operation(name="getVectorStoreFile", one=VectorStoreFile),
    "POST /v1/vector_stores/{vector_store_id}/files/{file_id}": Operation(name="updateVectorStoreFileAttributes", one=VectorStoreFile),
    "DELETE /v1/vector_stores/{vector_store_id}/files/{file_id}": Operation(name="deleteVectorStoreFile", deleted="vector_store.file.deleted"),
    "GET /v1/vector_stores/{vector_store_id}/files/{file_id}/content": Operation(
        name="retrieveVectorStoreFileContent", schema=_search_page("vector_store.file_content.page", _TEXT)
    ),
    "POST /v1/vector_stores/{vector_store_id}/file_batches": Operation(name="createVectorStoreFileBatch", one=VectorStoreFileBatch),
    "GET /v1/vector_stores/{vector_store_id}/file_batches/{batch_id}": Operation(name="getVectorStoreFileBatch", one=VectorStoreFileBatch),
    "POST /v1/vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel": Operation(name="cancelVectorStoreFileBatch", one=VectorStoreFileBatch),
    "GET /v1/vector_stores/{vector_store_id}/file_batches/{batch_id}/files": Operation(name="listFilesInVectorStoreBatch", page_of=VectorStoreFile),
}

FAILURES: Mapping[int, str] = {
    400: "The request cannot be carried out as it stands.",
    401: "The key is missing or unknown.",
    403: "A page of another site asked, or the key may not do this.",
    404: "There is no such object.",
    413: "The body is larger than this server takes.",
    421: "The Host header carries a name that is not this server's.",
    429: "Too many requests wait for the model.",
    500: "The server failed.",
    503: "A part of the server is not there: a model, the sandbox.",
    507: "The disk is almost full.",
}
_ID_NAMES: Mapping[type[BaseModel], str] = {
    Assistant: "assistant_id",
    ChatCompletion: "completion_id",
    Thread: "thread_id",
    Message: "message_id",
    Run: "run_id",
    RunStep: "step_id",
    File: "file_id",
    Upload: "upload_id",
    VectorStore: "vector_store_id",
    VectorStoreFile: "file_id",
    VectorStoreFileBatch: "batch_id",
}
"""What paths call the id of an object."""


def describe(*, title: str, version: str, routes: Sequence[BaseRoute]) -> Schema:
    """The OpenAPI document of the routes; each has its line in OPERATIONS."""
    document: Schema = get_openapi(title=title, version=version, routes=routes)
    schemas: Schema = document.setdefault("components", {}).setdefault("schemas", {})
    for gone in ("HTTPValidationError", "ValidationError"):
        schemas.pop(gone, None)
    schemas["Error"] = _closed(error=_closed(message=_STRING, type=_STRING, param=_nullable(_STRING), code=_nullable(_STRING)))
    names = _add_objects(schemas)
    document["components"]["securitySchemes"] = {"ApiKeyAuth": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"ApiKeyAuth": []}, {}]
    present = {f"{method.upper()} {path}": found for path, methods in document["paths"].items() for method, found in methods.items()}
    present = {place: found for place, found in present.items() if place in OPERATIONS}
    for place, found in present.items():
        operation = OPERATIONS[place]
        found["operationId"] = operation.name
        answer: Schema = {"description": "Done.", "content": _content(operation, names)}
        if links := dict(_links(place, operation, present)):
            answer["links"] = links
        found["responses"] = {"200": answer, **_failures()}
        if operation.is_extension:
            found["x-extension"] = True
    return document


def _add_objects(schemas: Schema) -> dict[type[BaseModel], str]:
    """Adds the objects as they are sent, and returns their names: bodies may use the same classes with fewer keys."""
    classes = sorted({cls for each in OPERATIONS.values() if (cls := each.one or each.page_of)}, key=lambda cls: cls.__name__)
    _, generated = models_json_schema([(cls, "serialization") for cls in classes], ref_template=_REF)
    defs: Schema = generated["$defs"]
    renamed = {name: f"{name}Sent" if name in schemas else name for name in defs}
    schemas.update({renamed[name]: _with_refs(schema, renamed) for name, schema in defs.items()})
    return {cls: renamed[cls.__name__] for cls in classes}


def _with_refs(node: Any, renamed: Mapping[str, str]) -> Any:
    prefix = _REF.format(model="")
    match node:
        case dict():
            return {key: _with_refs(value, renamed) for key, value in cast("Schema", node).items()}
        case list():
            return [_with_refs(value, renamed) for value in cast("list[Any]", node)]
        case str() if node.startswith(prefix):
            return prefix + renamed[node.removeprefix(prefix)]
        case _:
            return node


def _content(operation: Operation, names: Mapping[type[BaseModel], str]) -> Schema:
    if operation.is_content:
        return {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    content: Schema = {"application/json": {"schema": _answer(operation, names)}}
    if operation.streams:
        content["text/event-stream"] = {"schema": _EVENT}
    return content


def _answer(operation: Operation, names: Mapping[type[BaseModel], str]) -> Schema:
    if operation.one is not None:
        return {"$ref": _REF.format(model=names[operation.one])}
    if operation.page_of is not None:
        return _page({"$ref": _REF.format(model=names[operation.page_of])})
    if operation.deleted is not None:
        return _closed(id=_STRING, object=_const(operation.deleted), deleted=_TRUE)
    return operation.schema or {}


def _failures() -> Schema:
    content = {"application/json": {"schema": {"$ref": _REF.format(model="Error")}}}
    return {str(status): {"description": sentence, "content": content} for status, sentence in FAILURES.items()}


def _links(place: str, operation: Operation, present: Mapping[str, Schema]) -> Iterator[tuple[str, Schema]]:
    """Every operation on an object that this one answers with."""
    if operation.one is None or place.startswith("DELETE "):
        return
    id_name, given = _ID_NAMES.get(operation.one), set(_names_in(place))
    sources = {name: f"$request.path.{name}" for name in given}
    sources |= {name: f"$response.body#/{name}" for name in operation.one.model_fields if name.endswith("_id")}
    if id_name is None:
        return
    sources[id_name] = "$response.body#/id"
    for other in present:
        wanted = _names_in(other)
        if id_name in wanted and set(wanted) <= set(sources):
            name = OPERATIONS[other].name
            yield name, {"operationId": name, "parameters": {each: sources[each] for each in wanted}}


def _names_in(place: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", place)
