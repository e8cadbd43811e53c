"""The API keys: made, recognized, revoked. A key is 256 random bits and shown once; what is kept is its sha256."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from offline_assistants.domain.ids import Clock, Ids
from offline_assistants.domain.objects import ApiKey
from offline_assistants.errors import NotFound, OfflineAssistantsError
from offline_assistants.store.changes import Delete, Exists, Put, UpdateEach
from offline_assistants.store.duckdb_store import DuckDBStore

log = logging.getLogger(__name__)

PREFIX = "sk-oa-"
NOTE_EVERY_S = 60
"""A key in use is noted as used so often: not every request is worth a write."""


class KeyRing:
    """All keys, in memory: every request asks for one."""

    def __init__(self, store: DuckDBStore, *, ids: Ids, now: Clock) -> None:
        self._store = store
        self._ids = ids
        self._now = now
        self._keys: dict[str, ApiKey] = {}
        self._noting: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def open(cls, store: DuckDBStore, *, ids: Ids, now: Clock) -> AsyncGenerator[KeyRing]:
        ring = cls(store, ids=ids, now=now)
        ring._keys = {key.id: key async for key in store.list_all(ApiKey)}
        try:
            yield ring
        finally:
            await asyncio.gather(*ring._noting)

    def list(self) -> list[ApiKey]:
        """Oldest first."""
        return [*self._keys.values()]

    async def create(self, *, project: str, name: str | None = None) -> tuple[ApiKey, str]:
        """A new key, and its text, which nobody will see again."""
        text = PREFIX + secrets.token_urlsafe(32)
        hint = f"{text[: len(PREFIX) + 4]}...{text[-4:]}"
        key = ApiKey(id=self._ids.new("key_"), created_at=self._now(), name=name, project=project, hint=hint, digest=_digest(text))
        await self._store.commit([Put(key)])
        self._keys[key.id] = key
        return key, text

    async def revoke(self, key_id: str) -> None:
        """Its next request is refused. Raises NotFound."""
        unknown = NotFound(f"No API key found with id '{key_id}'. `offline-assistants keys list` shows those there are.")
        await self._store.commit([Delete(ApiKey, key_id)], require=[Exists(ApiKey, key_id, unknown)])
        self._keys.pop(key_id, None)

    def find(self, text: str) -> ApiKey | None:
        """The key that this is the text of. How long it takes says nothing about the keys: each is compared, and in constant time."""
        digest = _digest(text)
        found = [key for key in self._keys.values() if hmac.compare_digest(key.digest, digest)]
        if not found:
            return None
        self._note_use(found[0])
        return found[0]

    def _note_use(self, key: ApiKey) -> None:
        now = self._now()
        if key.last_used_at is not None and now - key.last_used_at < NOTE_EVERY_S:
            return
        self._keys[key.id] = key.model_copy(update={"last_used_at": now})
        noting = asyncio.create_task(self._note(key.id, now))
        self._noting.add(noting)
        noting.add_done_callback(self._noting.discard)

    async def _note(self, key_id: str, now: int) -> None:
        try:
            await self._store.commit([UpdateEach(ApiKey, [key_id], lambda key: key.model_copy(update={"last_used_at": now}))])
        except OfflineAssistantsError as error:
            log.warning("the use of key %s could not be noted: %s", key_id, error.message)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
