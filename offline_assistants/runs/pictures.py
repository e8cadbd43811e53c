"""The pictures of a prompt: from a file or a data: URL to bytes that a model sees. Knows nothing of models, and fetches nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from offline_assistants.domain.objects import File, Thread
from offline_assistants.domain.pictures import MAX_PICTURE_BYTES, UnreadablePicture, is_data_url, picture_type, read_data_url
from offline_assistants.errors import RequestError
from offline_assistants.ports import Chat, ChatMessage, ModelInfo, Picture
from offline_assistants.store.blobs import BlobStore
from offline_assistants.store.duckdb_store import DuckDBStore
from offline_assistants.store.project_store import ProjectStore


class BlindModel(RequestError):
    """The model cannot see pictures."""


class PictureReader:
    """Reads what a prompt's pictures refer to."""

    def __init__(self, *, store: DuckDBStore, blobs: BlobStore) -> None:
        self._store = store
        self._blobs = blobs

    async def fill(self, chat: Chat, model: ModelInfo, thread_id: str) -> Chat:
        """The chat of a thread, its pictures with their bytes. Raises BlindModel when it has some and `model` sees none, UnreadablePicture."""
        num_pictures = sum(len(message.pictures) for message in chat.messages)
        if not num_pictures:
            return chat
        if model.picture_tokens is None:
            there_are = "there is a picture" if num_pictures == 1 else f"there are {num_pictures} pictures"
            raise BlindModel(
                f"The model '{model.model_id}' cannot see pictures, and {there_are} in the messages that it would read. "
                f"{model.picture_problem or 'Use a model with a multimodal projector, or ask again in a thread without pictures.'}"
            )
        thread = await self._store.get(Thread, thread_id)
        files = ProjectStore(self._store, thread.project if thread else "")
        return replace(chat, messages=tuple([await self._fill(message, files) for message in chat.messages]))

    async def _fill(self, message: ChatMessage, files: ProjectStore) -> ChatMessage:
        return replace(message, pictures=tuple([await self._read(picture, files) for picture in message.pictures])) if message.pictures else message

    async def _read(self, picture: Picture, files: ProjectStore) -> Picture:
        if is_data_url(picture.source):
            content = await asyncio.to_thread(read_data_url, picture.source)
        elif ":" in picture.source:
            raise UnreadablePicture(
                f"The picture {picture.source[:200]} cannot be read: pictures are read from data: URLs and files only; nothing is fetched. "
                "Upload it as a file with the purpose 'vision' and refer to it as image_file, or send it as a data: URL."
            )
        else:
            content = await self._read_file(picture.source, files)
        # The source has served: a data: URL would travel to the engine a second time.
        return replace(picture, source="", content=content, mime=picture_type(content))

    async def _read_file(self, file_id: str, files: ProjectStore) -> bytes:
        file = await files.get(File, file_id)
        if file is None:
            raise UnreadablePicture(f"The picture {file_id} is gone: its file was deleted. Upload it again, and ask with a new message.")
        if file.bytes > MAX_PICTURE_BYTES:
            raise UnreadablePicture(f"The picture {file_id} has {file.bytes} bytes, and a picture has at most {MAX_PICTURE_BYTES}. Make it smaller.")
        content = await self._blobs.read(file.digest)
        try:
            picture_type(content)
        except UnreadablePicture as error:
            raise UnreadablePicture(f"The file {file_id} ({file.filename}) cannot be shown to the model. {error.message}") from None
        return content
