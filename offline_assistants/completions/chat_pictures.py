"""The pictures of a chat completion: from data: URLs to bytes that a model sees. Fetches nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from offline_assistants.domain.pictures import UnreadablePicture, is_data_url, picture_type, read_data_url
from offline_assistants.errors import RequestError
from offline_assistants.ports import Chat, ModelInfo, Picture


async def with_pictures(chat: Chat, model: ModelInfo) -> Chat:
    """The chat with its pictures' bytes. `model` is loaded. Raises RequestError when it sees no pictures, UnreadablePicture."""
    if model.picture_tokens is None:
        why = model.picture_problem or "Leave them out, or use a model with a multimodal projector."
        words = f"The model '{model.model_id}' cannot see pictures. {why}"
        raise RequestError(words, param="messages", code="invalid_value")
    read = [tuple([await _read(picture) for picture in message.pictures]) for message in chat.messages]
    return replace(chat, messages=tuple(replace(message, pictures=pictures) for message, pictures in zip(chat.messages, read, strict=True)))


async def _read(picture: Picture) -> Picture:
    if not is_data_url(picture.source):
        words = f"The picture {picture.source[:200]} cannot be read: pictures are read from data: URLs only; nothing is fetched."
        raise UnreadablePicture(words, param="messages")
    content = await asyncio.to_thread(read_data_url, picture.source)
    return replace(picture, source="", content=content, mime=picture_type(content))
