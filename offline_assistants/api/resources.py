"""From what a client asks its tools to reach to what is kept: files are checked, vector stores asked for on the way are planned."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from offline_assistants.api.parts import Parts
from offline_assistants.api.requests import CreateMessage, FileSearchResourcesIn, ToolResourcesChange, ToolResourcesIn
from offline_assistants.domain.objects import (
    Attachment,
    CodeInterpreterResources,
    ExpiresAfter,
    File,
    FileSearchResources,
    ImageFilePart,
    ImageUrlPart,
    Tool,
    ToolResources,
    VectorStore,
)
from offline_assistants.domain.pictures import check_url
from offline_assistants.errors import NotFound, RequestError
from offline_assistants.ingestion import FileToAdd, Ingestion, Plan, unknown_file
from offline_assistants.store.changes import Change, Exists, Precondition

MAX_CODE_FILES = 20
THREAD_STORE_EXPIRES = ExpiresAfter(days=7)
"""A vector store that a message's attachment makes on its thread."""


@dataclass(slots=True)
class ResourcesPlan:
    """Tool resources, and what has to be committed with the object that holds them."""

    resources: ToolResources
    changes: list[Change[Any]] = field(default_factory=list[Change[Any]])
    require: list[Precondition] = field(default_factory=list[Precondition])
    stores: list[Plan] = field(default_factory=list[Plan])

    def add(self, plan: Plan) -> None:
        self.changes += plan.changes
        self.require += plan.require
        self.stores.append(plan)

    def start(self, ingestion: Ingestion) -> None:
        """After the commit: begin to index."""
        for plan in self.stores:
            ingestion.start(plan)

    def onto(self, now: ToolResources, *, old: ToolResources) -> ToolResources:
        """The plan, which was made on top of `old`, as a change of what is there `now`: a file that was deleted in between does not come back."""
        fields = {name: getattr(self.resources, name) for name in ("code_interpreter", "file_search")}
        changed = {name: value for name, value in fields.items() if value != getattr(old, name)}
        if changed.get("code_interpreter") is not None:
            gone = set(old.code_file_ids()) - set(now.code_file_ids())
            kept = [file_id for file_id in self.resources.code_file_ids() if file_id not in gone]
            changed["code_interpreter"] = CodeInterpreterResources(file_ids=kept)
        return now.model_copy(update=changed)


def unknown_vector_store(vector_store_id: str) -> NotFound:
    return NotFound(f"Vector store with id ['{vector_store_id}'] not found.")


async def plan_resources(
    parts: Parts, asked: ToolResourcesIn | ToolResourcesChange | None, *, tools: Sequence[Tool] = (), old: ToolResources | None = None
) -> ResourcesPlan:
    """What `asked` means, on top of `old`; a kind that is not asked for stays as it is. Raises NotFound, RequestError."""
    resources = old or ToolResources()
    if any(tool.type == "code_interpreter" for tool in tools) and resources.code_interpreter is None:
        resources = resources.model_copy(update={"code_interpreter": CodeInterpreterResources()})
    plan = ResourcesPlan(resources)
    if asked is not None and asked.code_interpreter is not None:
        ids = list(dict.fromkeys(asked.code_interpreter.file_ids))
        plan.require += [Exists(File, file_id, unknown_file(file_id)) for file_id in ids]
        plan.resources = plan.resources.model_copy(update={"code_interpreter": CodeInterpreterResources(file_ids=ids)})
    if asked is not None and asked.file_search is not None:
        store_ids = list(asked.file_search.vector_store_ids)
        plan.require += [Exists(VectorStore, store_id, unknown_vector_store(store_id)) for store_id in store_ids]
        if isinstance(asked.file_search, FileSearchResourcesIn):
            store_ids = await _plan_stores(parts, plan, asked.file_search)
        plan.resources = plan.resources.model_copy(update={"file_search": FileSearchResources(vector_store_ids=store_ids)})
    return plan


async def _plan_stores(parts: Parts, plan: ResourcesPlan, asked: FileSearchResourcesIn) -> list[str]:
    """The vector store that is asked for: made on the way, or the one that is named. There is room for one, so with both the files go into the named one."""
    [named] = await _stores(parts, asked.vector_store_ids) or [None]
    for each in asked.vector_stores:
        files = [FileToAdd(file_id, each.chunking_strategy) for file_id in each.file_ids]
        if named is None:
            plan.add(await parts.ingestion.plan_store(parts.store, files, metadata=each.metadata))
        else:
            plan.add(await parts.ingestion.plan_files(parts.store, named, files))
    return list(asked.vector_store_ids) or [made.store.id for made in plan.stores]


async def _stores(parts: Parts, store_ids: Sequence[str]) -> list[VectorStore]:
    found = await parts.store.get_many(VectorStore, store_ids)
    missing = next((store_id for store_id in store_ids if store_id not in found), None)
    if missing is not None:
        raise unknown_vector_store(missing)
    return list(found.values())


async def plan_pictures(plan: ResourcesPlan, messages: Sequence[CreateMessage]) -> None:
    """A picture that a message shows has to be there when the message is kept. Raises RequestError for a URL that never can be read."""
    parts = [part for message in messages if not isinstance(message.content, str) for part in message.content]
    for part in parts:
        if isinstance(part, ImageUrlPart):
            await asyncio.to_thread(check_url, part.image_url.url)
    plan.require += [Exists(File, part.image_file.file_id, unknown_file(part.image_file.file_id)) for part in parts if isinstance(part, ImageFilePart)]


async def plan_attachments(parts: Parts, plan: ResourcesPlan, attachments: Sequence[Attachment]) -> None:
    """Files attached to messages become files of the thread: searched through its vector store (made if it has none), or opened by code.

    Raises NotFound for a file that does not exist, RequestError for a 21st file of code_interpreter.
    """
    plan.require += [Exists(File, each.file_id, unknown_file(each.file_id)) for each in attachments]
    code_ids = [each.file_id for each in attachments if any(tool.type == "code_interpreter" for tool in each.tools)]
    if code_ids:
        ids = list(dict.fromkeys([*plan.resources.code_file_ids(), *code_ids]))
        if len(ids) > MAX_CODE_FILES:
            raise RequestError(f"A thread takes at most {MAX_CODE_FILES} files for code_interpreter; this would make {len(ids)}.", param="attachments")
        plan.resources = plan.resources.model_copy(update={"code_interpreter": CodeInterpreterResources(file_ids=ids)})
    searched = [FileToAdd(each.file_id) for each in attachments if any(tool.type == "file_search" for tool in each.tools)]
    if searched:
        store_ids = plan.resources.vector_store_ids()
        store = await parts.store.get(VectorStore, store_ids[0]) if store_ids else None
        if store is not None and store.at(parts.now()).status != "expired":
            plan.add(await parts.ingestion.plan_files(parts.store, store, searched, refuse_unsearchable=True))
        else:
            made = await parts.ingestion.plan_store(parts.store, searched, expires_after=THREAD_STORE_EXPIRES)
            plan.add(made)
            plan.resources = plan.resources.model_copy(update={"file_search": FileSearchResources(vector_store_ids=[made.store.id])})
