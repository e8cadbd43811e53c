"""What has an end in time: expired files are deleted, expired uploads let go of their parts, expired vector stores are emptied. Knows nothing of HTTP.

The times are in the objects, so a restart forgets none; what came due while no server ran is ended when one starts.
"""

from __future__ import annotations

import asyncio
import heapq
import logging

from offline_assistants.domain.ids import Clock
from offline_assistants.domain.objects import File, Upload, VectorStore
from offline_assistants.errors import NotFound, OfflineAssistantsError
from offline_assistants.ingestion import Ingestion
from offline_assistants.store.duckdb_store import DuckDBStore
from offline_assistants.uploads import Uploads

log = logging.getLogger(__name__)

LONGEST_SLEEP_S = 60.0
"""The clock may be set, and the machine may sleep."""
STORES_LOOKED_THROUGH_EVERY_S = 3600.0
"""The end of a vector store moves with each use, and is days away: nothing is gained by waiting for each."""


class Expiry:
    """One task that sleeps until something is due, and one that looks through the vector stores now and then."""

    def __init__(self, *, store: DuckDBStore, ingestion: Ingestion, uploads: Uploads, now: Clock, retry_after_s: float = 5.0) -> None:
        """`retry_after_s`: so long it waits when something could not be ended."""
        self._store = store
        self._ingestion = ingestion
        self._uploads = uploads
        self._now = now
        self._retry_after_s = retry_after_s
        self._due: list[tuple[int, str, bool]] = []
        """Time, id, and whether it is an upload's; the next one first."""
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Take up what there is, and end what is due."""
        async for file in self._store.list_all(File):
            self.watch(file)
        async for upload in self._store.list_all(Upload, where={"status": "pending"}):
            self.watch(upload)
        self._tasks = [asyncio.create_task(self._run(), name="expiry"), asyncio.create_task(self._look_through_stores(), name="store-expiry")]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def watch(self, expiring: File | Upload) -> None:
        """End it when its time comes, if it has one."""
        if expiring.expires_at is not None:
            heapq.heappush(self._due, (expiring.expires_at, expiring.id, isinstance(expiring, Upload)))
            self._news.set()

    async def _run(self) -> None:
        while True:
            self._news.clear()
            pause_s = await self._end_due()
            try:
                await asyncio.wait_for(self._news.wait(), pause_s)
            except TimeoutError:
                continue

    async def _end_due(self) -> float:
        """Seconds until there is more to do."""
        while self._due and self._due[0][0] <= self._now():
            expires_at, object_id, is_upload = heapq.heappop(self._due)
            try:
                await self._end(object_id, is_upload=is_upload)
            except OfflineAssistantsError as error:
                log.warning("%s has expired and could not be deleted; tried again in %g s: %s", object_id, self._retry_after_s, error.message)
            except Exception:
                log.exception("%s has expired and could not be deleted; tried again in %g s", object_id, self._retry_after_s)
            else:
                continue
            heapq.heappush(self._due, (expires_at, object_id, is_upload))
            return self._retry_after_s
        return min(self._due[0][0] - self._now(), LONGEST_SLEEP_S) if self._due else LONGEST_SLEEP_S

    async def _end(self, object_id: str, *, is_upload: bool) -> None:
        try:
            if is_upload:
                await self._uploads.expire(object_id)
            elif file := await self._store.get(File, object_id):
                await self._ingestion.delete_file(file)
        except NotFound:
            return  # somebody deleted it first

    async def _look_through_stores(self) -> None:
        while True:
            try:
                async for store in self._store.list_all(VectorStore):
                    if store.status != "expired" and store.at(self._now()).status == "expired":
                        await self._ingestion.expire_store(store.id)
            except OfflineAssistantsError as error:
                log.warning("expired vector stores could not be emptied; tried again in %g s: %s", STORES_LOOKED_THROUGH_EVERY_S, error.message)
            except Exception:
                log.exception("expired vector stores could not be emptied; tried again in %g s", STORES_LOOKED_THROUGH_EVERY_S)
            await asyncio.sleep(STORES_LOOKED_THROUGH_EVERY_S)
