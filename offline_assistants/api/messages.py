"""/v1/threads/{thread_id}/messages"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from fastapi import APIRouter

from offline_assistants.api.bodies import CheckedRoute
from offline_assistants.api.parts import Parts, PartsDep, deleted, page_of
from offline_assistants.api.requests import CreateMessage, Limit, ModifyMetadata, Order
from offline_assistants.api.threads import get_thread, plan_messages
from offline_assistants.domain.objects import Message
from offline_assistants.errors import NotFound, RunIsActive
from offline_assistants.store.changes import Delete, NotLocked, Update

router = APIRouter(prefix="/v1/threads/{thread_id}/messages", route_class=CheckedRoute)


def unlocked(thread_id: str) -> NotLocked:
    return NotLocked(thread_id, lambda run_id: RunIsActive(f"Can't add messages to {thread_id} while a run {run_id} is active."))


async def get_message(parts: Parts, thread_id: str, message_id: str) -> Message:
    await get_thread(parts, thread_id)
    message = await parts.store.get(Message, message_id)
    if message is None or message.thread_id != thread_id:
        raise NotFound(f"No message found with id '{message_id}'.")
    return message


@router.post("")
async def create_message(thread_id: str, body: CreateMessage, parts: PartsDep) -> dict[str, Any]:
    async with parts.attaching if body.attachments else nullcontext():
        [message], plan = await plan_messages(parts, await get_thread(parts, thread_id), [body])
        await parts.store.commit(plan.changes, require=[*plan.require, unlocked(thread_id)])
    plan.start(parts.ingestion)
    return message.wire()


@router.get("")
async def list_messages(
    thread_id: str,
    parts: PartsDep,
    limit: Limit = 20,
    order: Order = "desc",
    after: str | None = None,
    before: str | None = None,
    run_id: str | None = None,
) -> dict[str, Any]:
    await get_thread(parts, thread_id)
    where = {"run_id": run_id} if run_id else {}
    page = await parts.store.list_page(Message, parent={"thread_id": thread_id}, where=where, limit=limit, order=order, after=after, before=before)
    return page_of(page.items, has_more=page.has_more)


@router.get("/{message_id}")
async def retrieve_message(thread_id: str, message_id: str, parts: PartsDep) -> dict[str, Any]:
    return (await get_message(parts, thread_id, message_id)).wire()


@router.post("/{message_id}")
async def modify_message(thread_id: str, message_id: str, body: ModifyMetadata, parts: PartsDep) -> dict[str, Any]:
    message = await get_message(parts, thread_id, message_id)
    if "metadata" not in body.model_fields_set:
        return message.wire()
    update = Update(Message, message_id, lambda message: message.model_copy(update={"metadata": body.metadata or {}}))
    return (await parts.store.commit([update]))[update].wire()


@router.delete("/{message_id}")
async def delete_message(thread_id: str, message_id: str, parts: PartsDep) -> dict[str, Any]:
    await get_message(parts, thread_id, message_id)
    await parts.store.commit([Delete(Message, message_id)], require=[unlocked(thread_id)])
    return deleted(message_id, "thread.message.deleted")
