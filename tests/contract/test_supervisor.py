"""A run ends, whatever refuses it meanwhile: the supervisor over a real store that for a time takes nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any, cast

from offline_assistants.domain.ids import Ids
from offline_assistants.domain.objects import DEFAULT_PROJECT, Run, Thread
from offline_assistants.errors import StoreError
from offline_assistants.runs.active_run import ActiveRun
from offline_assistants.runs.runner import Runner
from offline_assistants.runs.supervisor import Supervisor
from offline_assistants.store.changes import Change, Committed, Precondition, Put
from offline_assistants.store.duckdb_store import DuckDBStore
from offline_assistants.store.project_store import ProjectStore


class ReluctantStore(DuckDBStore):
    refuses = False

    async def commit(self, changes: Sequence[Change[Any]], require: Sequence[Precondition] = (), **options: Any) -> Committed:
        if self.refuses:
            raise StoreError("The database takes nothing.")
        return await super().commit(changes, require, **options)


class RefusedRunner:
    """Finds that the store takes nothing."""

    def __init__(self, store: ReluctantStore) -> None:
        self._store = store

    async def run(self, active: ActiveRun) -> None:
        self._store.refuses = True
        raise StoreError("The database takes nothing.")


async def test_a_cancel_that_meets_a_run_whose_end_could_not_be_saved_frees_its_thread() -> None:
    run = Run(id="run_a", created_at=1, thread_id="thread_a", assistant_id="asst_a", model="any", expires_at=None)
    async with ReluctantStore.open(None) as opened:
        store = cast("ReluctantStore", opened)
        supervisor = Supervisor(store=store, runner=cast("Runner", RefusedRunner(store)), ids=Ids(random.Random(1)), now=lambda: 1)
        await supervisor.create(run, store=ProjectStore(store, DEFAULT_PROJECT), changes=[Put(Thread(id="thread_a", created_at=1))])
        await asyncio.sleep(0.05)
        store.refuses = False

        await supervisor.cancel(run)

        async with asyncio.timeout(5):
            while (kept := await store.get(Run, run.id)) is None or kept.status != "cancelled":  # noqa: ASYNC110 the store tells nobody
                await asyncio.sleep(0.01)
        assert await store.active_runs() == []
        await supervisor.close()
