"""/v1/threads"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from offline_assistants.api.bodies import CheckedRoute
from offline_assistants.api.parts import Parts, PartsDep, deleted, metadata_filter, page_of
from offline_assistants.api.requests import CreateMessage, CreateThread, Limit, ModifyThread, Order, TextIn
from offline_assistants.api.resources import ResourcesPlan, plan_attachments, plan_pictures, plan_resources
from offline_assistants.domain.objects import ContentPart, Message, Run, RunStep, Text, TextPart, Thread
from offline_assistants.errors import NotFound
from offline_assistants.store.changes import Change, Delete, DeleteChildren, Exists, Put, Unlock, Update

router = APIRouter(prefix="/v1/threads", route_class=CheckedRoute)


def unknown_thread(thread_id: str) -> NotFound:
    return NotFound(f"No thread found with id '{thread_id}'.")


async def get_thread(parts: Parts, thread_id: str) -> Thread:
    thread = await parts.store.get(Thread, thread_id)
    if thread is None:
        raise unknown_thread(thread_id)
    return thread


def new_message(parts: Parts, thread_id: str, body: CreateMessage) -> Message:
    """A client's message; a text that came as a string becomes one part."""
    now = parts.now()
    parts_in = [TextIn(text=body.content)] if isinstance(body.content, str) else body.content
    content: list[ContentPart] = [TextPart(text=Text(value=part.text)) if isinstance(part, TextIn) else part for part in parts_in]
    return Message(
        id=parts.ids.new("msg_"),
        created_at=now,
        completed_at=now,
        thread_id=thread_id,
        role=body.role,
        content=content,
        attachments=body.attachments or [],
        metadata=body.metadata or {},
    )


async def plan_thread(parts: Parts, body: CreateThread) -> tuple[Thread, ResourcesPlan]:
    """A new thread with its first messages; the thread itself is among the plan's changes."""
    plan = await plan_resources(parts, body.tool_resources)
    messages = [(each, new_message(parts, "", each)) for each in body.messages]
    await plan_attachments(parts, plan, [attachment for each, _ in messages for attachment in each.attachments or []])
    await plan_pictures(plan, body.messages)
    thread = Thread(id=parts.ids.new("thread_"), created_at=parts.now(), metadata=body.metadata or {}, tool_resources=plan.resources)
    plan.changes.append(Put(thread))
    plan.changes += [Put(message.model_copy(update={"thread_id": thread.id})) for _, message in messages]
    return thread, plan


async def plan_messages(parts: Parts, thread: Thread, bodies: list[CreateMessage]) -> tuple[list[Message], ResourcesPlan]:
    """Messages for a thread that exists; what their attachments change of the thread is among the plan's changes."""
    plan = ResourcesPlan(thread.tool_resources)
    await plan_attachments(parts, plan, [attachment for body in bodies for attachment in body.attachments or []])
    await plan_pictures(plan, bodies)
    messages = [new_message(parts, thread.id, body) for body in bodies]
    plan.require.append(Exists(Thread, thread.id, unknown_thread(thread.id)))
    if plan.resources != thread.tool_resources:

        def attach(now: Thread) -> Thread:
            return now.model_copy(update={"tool_resources": plan.onto(now.tool_resources, old=thread.tool_resources)})

        plan.changes.append(Update(Thread, thread.id, attach))
    plan.changes += [Put(message) for message in messages]
    return messages, plan


@router.post("")
async def create_thread(parts: PartsDep, body: CreateThread | None = None) -> dict[str, Any]:
    thread, plan = await plan_thread(parts, body or CreateThread())
    await parts.store.commit(plan.changes, require=plan.require)
    plan.start(parts.ingestion)
    return thread.wire()


@router.get("")
async def list_threads(
    request: Request, parts: PartsDep, limit: Limit = 20, order: Order = "desc", after: str | None = None, before: str | None = None
) -> dict[str, Any]:
    """Extension: the hosted API had no list of threads. `metadata[KEY]=VALUE`, once or more, leaves those that have all of these pairs."""
    page = await parts.store.list_page(Thread, where=metadata_filter(request), limit=limit, order=order, after=after, before=before)
    return page_of(page.items, has_more=page.has_more)


@router.get("/{thread_id}")
async def retrieve_thread(thread_id: str, parts: PartsDep) -> dict[str, Any]:
    return (await get_thread(parts, thread_id)).wire()


@router.post("/{thread_id}")
async def modify_thread(thread_id: str, body: ModifyThread, parts: PartsDep) -> dict[str, Any]:
    async with parts.attaching:  # an attachment of a message changes the thread's resources, too
        old = await get_thread(parts, thread_id)
        plan = await plan_resources(parts, body.tool_resources, old=old.tool_resources)
        fields: dict[str, Any] = {"metadata": body.metadata or {}} if "metadata" in body.model_fields_set else {}

        def modified(now: Thread) -> Thread:
            return now.model_copy(update={**fields, "tool_resources": plan.onto(now.tool_resources, old=old.tool_resources)})

        update = Update(Thread, thread_id, modified, unknown_thread(thread_id))
        done = await parts.store.commit([*plan.changes, update], require=plan.require)
    plan.start(parts.ingestion)
    return done[update].wire()


@router.delete("/{thread_id}")
async def delete_thread(thread_id: str, parts: PartsDep) -> dict[str, Any]:
    """With its messages, runs and steps, and its session of code_interpreter; an active run is stopped. Files and vector stores stay."""
    children: list[Change[Any]] = [DeleteChildren(kind, {"thread_id": thread_id}) for kind in (Message, Run, RunStep)]
    exists = Exists(Thread, thread_id, unknown_thread(thread_id))
    await parts.store.commit([Delete(Thread, thread_id), *children, Unlock(thread_id)], require=[exists])
    await parts.supervisor.abandon(thread_id)
    await parts.sandbox.close(thread_id)
    return deleted(thread_id, "thread.deleted")
