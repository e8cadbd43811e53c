"""Objects out of the store as the API shows them, and into it with the ids they have: what `export` and `import` ask of the server.

An export is one JSON object a line, each as the API shows it and with its `project`: files, vector stores and what is in them, assistants, threads and what is
in them, stored chat completions with what was asked. Left out is what another server makes anew or cannot take up: contents and vectors, file batches, uploads.

An import changes nothing that is there: an object whose id is known stays as it is, so that the same file can be imported again.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from offline_assistants.api.parts import Parts
from offline_assistants.domain.chat_completions import ChatCompletion
from offline_assistants.domain.objects import (
    ACTIVE,
    DEFAULT_PROJECT,
    ApiObject,
    Assistant,
    File,
    FileCounts,
    Message,
    ProjectName,
    RootObject,
    Run,
    RunStep,
    Thread,
    VectorStore,
    VectorStoreFile,
)
from offline_assistants.errors import OfflineAssistantsError, RequestError
from offline_assistants.ingestion import Plan
from offline_assistants.store.changes import Exists, IsNew, Put
from offline_assistants.store.duckdb_store import DuckDBStore
from offline_assistants.store.vector_store_changes import AddFiles

ROOTS: Mapping[type[RootObject], tuple[str, tuple[type[ApiObject], ...]]] = {
    File: ("", ()),
    VectorStore: ("vector_store_id", (VectorStoreFile,)),
    Assistant: ("", ()),
    Thread: ("thread_id", (Message, Run, RunStep)),
    ChatCompletion: ("", ()),
}
"""In the order in which they can be put back, with the classes of their children and the column that holds the root's id."""
KINDS: dict[str, type[ApiObject]] = {cls.model_fields["object"].default: cls for root, (_, children) in ROOTS.items() for cls in (root, *children)}
_PROJECT: TypeAdapter[str] = TypeAdapter(ProjectName)
_ID = re.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,199}")
"""Ids stand in paths of URLs and of files."""
Outcome = Literal["imported", "already there", "refused"]


@dataclass(frozen=True, slots=True)
class Taken:
    outcome: Outcome
    reason: str | None = None


class _IdTaken(OfflineAssistantsError):
    """An object with this id came first."""


async def export(store: DuckDBStore, project: str | None) -> AsyncGenerator[bytes]:
    """The lines of everything, or of one project."""
    parent = {} if project is None else {"project": project}
    for root_class, (column, children) in ROOTS.items():
        async for root in store.list_all(root_class, parent=parent):
            yield _line(root, root.project)
            for child_class in children:
                async for child in store.list_all(child_class, parent={column: root.id}):
                    yield _line(child, root.project)


def _line(obj: ApiObject, project: str) -> bytes:
    wire = obj.wire(with_search_content=True) if isinstance(obj, RunStep) else obj.wire()
    if isinstance(obj, ChatCompletion):
        wire["messages"] = obj.messages
    return json.dumps({"project": project, **wire}, ensure_ascii=False).encode() + b"\n"


async def take(parts: Parts, store: DuckDBStore, raws: Sequence[dict[str, Any]], project: str | None) -> list[Taken]:
    """What became of each object, in order; roots have to come before their children. `project` overrides what the objects say.

    A file names the blob that its content was put into as `digest`; that is one use of the blob, and taken back when the file is not kept.
    """
    known: dict[tuple[str, str], ApiObject] = await _known(store, raws)
    # The write thread takes commits in the order of these tasks, many in one transaction.
    return list(await asyncio.gather(*(_take(parts, known, raw, project) for raw in raws)))


async def _known(store: DuckDBStore, raws: Sequence[dict[str, Any]]) -> dict[tuple[str, str], ApiObject]:
    found: dict[tuple[str, str], ApiObject] = {}
    for kind, cls in KINDS.items():
        keys = [_key(raw) for raw in raws if raw.get("object") == kind]
        found |= {(kind, key): obj for key, obj in (await store.get_many(cls, keys)).items()}
    return found


def _key(raw: dict[str, Any]) -> str:
    return f"{raw.get('vector_store_id')}/{raw.get('id')}" if raw.get("object") == "vector_store.file" else str(raw.get("id"))


async def _take(parts: Parts, known: dict[tuple[str, str], ApiObject], raw: dict[str, Any], project: str | None) -> Taken:
    try:
        view = parts.of(_PROJECT.validate_python(project or raw.get("project") or DEFAULT_PROJECT))
        there = known.get((str(raw.get("object")), _key(raw)))
        taken = await _keep_new(view, _parsed(raw)) if there is None else await _compare(view, there)
    except ValidationError as error:
        worst = error.errors()[0]
        taken = Taken("refused", f"{'.'.join(str(part) for part in worst['loc']) or 'project'}: {worst['msg']}")
    except OfflineAssistantsError as error:
        taken = Taken("refused", error.message)
    if taken.outcome != "imported" and isinstance(raw.get("digest"), str):
        await parts.blobs.delete(raw["digest"])
    return taken


async def _compare(view: Parts, there: ApiObject) -> Taken:
    is_ours = await view.store.get(type(there), there.key) is not None
    return Taken("already there") if is_ours else Taken("refused", f"the id {there.id} is taken by an object of another project")


async def _keep_new(view: Parts, obj: ApiObject) -> Taken:
    """It was not there a moment ago; the same id may be in the batch twice."""
    try:
        await _keep(view, obj)
    except _IdTaken:
        return await _compare(view, obj)
    return Taken("imported")


def _parsed(raw: dict[str, Any]) -> ApiObject:
    """Raises ValidationError and RequestError. Fields that this server does not know are left out, and so are nulls where it has a default instead."""
    cls = KINDS.get(str(raw.get("object")))
    if cls is None:
        raise RequestError(f"objects of the kind {raw.get('object')!r} are not imported; those that are: {', '.join(KINDS)}")
    if cls is File and not isinstance(raw.get("digest"), str):
        raise RequestError("its content is not beside the export")
    if cls is VectorStoreFile:
        raw = {**raw, "filename": ""}  # the file has it
    fields = cls.model_fields
    values = {
        name: value
        for name, value in raw.items()
        if name in fields and name != "project" and (value is not None or fields[name].is_required() or fields[name].default is None)
    }
    if cls is Message:
        _add_quotes(values.get("content"))
    obj = cls.model_validate_json(json.dumps(values))
    if not _ID.fullmatch(obj.id):
        raise RequestError("an id has letters, digits, _ and - only, begins with a letter or digit and is no longer than 200 characters: give it another one")
    return obj


def _add_quotes(content: Any) -> None:
    """Later versions of the hosted API cited files without a quote."""
    with suppress(AttributeError, KeyError, TypeError):  # what has another form is refused for it later
        for part in content:
            for annotation in part.get("text", {}).get("annotations", []):
                annotation.get("file_citation", {}).setdefault("quote", "")


async def _keep(view: Parts, obj: ApiObject) -> None:
    """Raises _IdTaken."""
    is_new = IsNew(type(obj), obj.key, _IdTaken())
    match obj:
        case Run(status=status) if status in ACTIVE:
            raise RequestError(f"a run that is {status} cannot be taken up by another server")
        case RunStep(status="in_progress"):
            raise RequestError("a step that is in progress belongs to a run that cannot be taken up by another server")
        case VectorStore():
            obj = obj.model_copy(update={"file_counts": FileCounts(), "usage_bytes": 0, "status": "completed"})
            await view.store.commit([Put(obj)], require=[is_new])
        case VectorStoreFile():
            await _add_file(view, obj, is_new)
        case _:
            await view.store.commit([Put(obj)], require=[is_new])
    if isinstance(obj, File):
        view.expiry.watch(obj)


async def _add_file(view: Parts, row: VectorStoreFile, is_new: IsNew) -> None:
    """It is read and indexed anew."""
    file = await view.store.get(File, row.id)
    store = await view.store.get(VectorStore, row.vector_store_id)
    if file is None or store is None:
        raise RequestError(f"there is no {'file ' + row.id if file is None else 'vector store ' + row.vector_store_id}")
    fresh = VectorStoreFile(
        id=row.id,
        created_at=row.created_at,
        vector_store_id=store.id,
        chunking_strategy=row.chunking_strategy,
        attributes=row.attributes,
        filename=file.filename,
    )
    adding = AddFiles(store.id, (fresh,))
    await view.ingestion.carry_out(view.store, Plan((adding,), (Exists(File, file.id), is_new), adding, store))
