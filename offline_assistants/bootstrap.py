"""The only place where the real parts are made and joined."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
import secrets
import shlex
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from starlette.types import ASGIApp

from offline_assistants.api.admin import Admin
from offline_assistants.api.app import build_api
from offline_assistants.api.guard import Rules
from offline_assistants.api.keys import KeyRing
from offline_assistants.api.parts import Parts
from offline_assistants.catalog import Catalog
from offline_assistants.code_interpreter.backend import SandboxLimits
from offline_assistants.code_interpreter.backend_choice import choose_backend
from offline_assistants.code_interpreter.session_sandbox import SessionSandbox
from offline_assistants.code_interpreter.sessions import SessionLimits
from offline_assistants.documents.local_documents import LocalDocuments
from offline_assistants.domain.ids import Ids
from offline_assistants.domain.model_aliases import ModelAliases
from offline_assistants.domain.objects import DEFAULT_PROJECT, File, UploadPart, VectorStoreFile
from offline_assistants.engine.aliased_engines import AliasedEngines
from offline_assistants.engine.options import EngineOptions, LoraAdapter
from offline_assistants.engine.pool import EnginePool
from offline_assistants.engine.prefix_files import drop_prefixes
from offline_assistants.engine.schema_check import SchemaCheck
from offline_assistants.engine.tunings import Tunings
from offline_assistants.errors import OfflineAssistantsError, StoreError
from offline_assistants.expiry import Expiry
from offline_assistants.file_search.search_index import SearchIndex
from offline_assistants.ingestion import Ingestion
from offline_assistants.model_import import Digests
from offline_assistants.outbound import OutboundAttempts
from offline_assistants.ports import Documents, Engines, Sandbox
from offline_assistants.runs.history import History
from offline_assistants.runs.pictures import PictureReader
from offline_assistants.runs.prompts import PromptBuilder, RunLimits
from offline_assistants.runs.runner import Runner
from offline_assistants.runs.search import FileSearch
from offline_assistants.runs.supervisor import Supervisor
from offline_assistants.runs.token_counts import TokenCounts
from offline_assistants.runs.tool_calls import BuiltinTools
from offline_assistants.settings import Settings
from offline_assistants.store.blobs import BlobStore
from offline_assistants.store.duckdb_store import DuckDBStore
from offline_assistants.store.project_store import ProjectStore
from offline_assistants.uploads import Uploads

log = logging.getLogger(__name__)

EXIT_DATABASE_FAILED = 70
"""Tells whatever restarts the server that it has to: the database cannot go on in this process (EX_SOFTWARE of sysexits.h)."""


@dataclass(frozen=True, slots=True)
class OpenServer:
    """A server that is ready for requests."""

    app: ASGIApp
    end_runs: Callable[[], Awaitable[None]]
    """Stops every run where it is, so that open streams end; runs go on when the server is back."""
    store: DuckDBStore
    parts: Parts


@asynccontextmanager
async def build_app(
    settings: Settings,
    *,
    is_serving: bool = True,
    store: DuckDBStore | None = None,
    engines: Engines | None = None,
    documents: Documents | None = None,
    sandbox: Sandbox | None = None,
    outbound: OutboundAttempts | None = None,
    address: str | None = None,
) -> AsyncGenerator[OpenServer]:
    """The whole server, without a socket. A part that is given is used in place of the real one, and closed by whoever gave it.

    `is_serving` False: for a command that looks something up; runs and files in progress are left for a server to go on with. `address`: of the page.

    Raises StoreError when another server has the data directory, or its database cannot be opened.
    """
    async with AsyncExitStack() as stack:
        _make_private(settings.data_dir)
        store = store or await stack.enter_async_context(
            DuckDBStore.open(
                settings.data_dir / "database",
                on_fatal=_end_process,
                before_erasing=partial(drop_prefixes, settings.prefixes_path),
                min_free_bytes=settings.min_free_disk_bytes,
            )
        )
        blobs = await stack.enter_async_context(BlobStore.open(settings.data_dir / "blobs", min_free_bytes=settings.min_free_disk_bytes))
        await _drop_unused_blobs(store, blobs)  # and count who uses the others: without that an import could take away what files share
        digests = Digests(settings.digests_path)
        verified = settings.data_dir / "verified.json"
        catalog = Catalog(settings.models_path, verified_path=verified, digest_of=digests.get, wants_adapter=settings.wants_packaged_adapter)
        aliases = ModelAliases.read(settings.model_aliases)
        engines = engines or await stack.enter_async_context(_engines(settings, catalog))
        engines = AliasedEngines(engines, aliases, default_model=settings.default_model)
        documents = documents or await stack.enter_async_context(await _documents(settings, catalog))
        if is_serving:
            await engines.check_names(embedders=[embedder.model_id for embedder in await documents.list_models()])
        sandbox = sandbox or await stack.enter_async_context(_sandbox(settings, is_serving=is_serving))
        index = await stack.enter_async_context(SearchIndex(settings.data_dir / "vectors", max_exact_windows=settings.exact_search_windows))
        schemas = stack.enter_context(SchemaCheck())
        parts = _join(settings, store=store, blobs=blobs, index=index, engines=engines, aliases=aliases, schemas=schemas, documents=documents, sandbox=sandbox)
        stack.push_async_callback(parts.ingestion.close)
        stack.push_async_callback(parts.supervisor.close)
        stack.push_async_callback(parts.expiry.close)
        if is_serving:
            await parts.ingestion.open()
            await parts.expiry.open()
            await parts.supervisor.recover()
        keys = await stack.enter_async_context(KeyRing.open(store, ids=parts.ids, now=_now))
        if is_serving and settings.require_keys and not keys.list():
            raise OfflineAssistantsError(f"Keys are required, and there is none. Make one first: {_command(settings)} keys create")
        rules = Rules(hosts=[*settings.allow_host, settings.host], origins=settings.allow_origin, require_keys=settings.require_keys)
        api = build_api(parts, Admin(keys=keys, store=store, parts=parts, address=address), rules, outbound or OutboundAttempts())
        yield OpenServer(api, parts.supervisor.close, store, parts)


def _join(
    settings: Settings,
    *,
    store: DuckDBStore,
    blobs: BlobStore,
    index: SearchIndex,
    engines: Engines,
    aliases: ModelAliases,
    schemas: SchemaCheck,
    documents: Documents,
    sandbox: Sandbox,
) -> Parts:
    ids, history = Ids(random.Random(secrets.randbits(128))), History(store)
    search = FileSearch(store=store, blobs=blobs, documents=documents, index=index, now=_now)
    tools = BuiltinTools(store=store, blobs=blobs, sandbox=sandbox, search=search, ids=ids, now=_now, code_timeout_s=settings.code_timeout_s)
    limits = RunLimits(max_tool_rounds=settings.max_tool_rounds, max_repeated_calls=settings.max_repeated_calls)
    counts = TokenCounts(engines)
    prompts = PromptBuilder(engines=engines, counts=counts, history=history, pictures=PictureReader(store=store, blobs=blobs), limits=limits)
    runner = Runner(engines=engines, tools=tools, history=history, prompts=prompts, ids=ids, max_answer_tokens=settings.max_answer_tokens)
    ingestion = Ingestion(store=store, blobs=blobs, documents=documents, index=index, ids=ids, now=_now)
    uploads = Uploads(store=store, blobs=blobs, ids=ids, now=_now, max_upload_bytes=settings.max_upload_bytes)
    return Parts(
        store=ProjectStore(store, DEFAULT_PROJECT),
        blobs=blobs,
        engines=engines,
        documents=documents,
        aliases=aliases,
        schemas=schemas,
        sandbox=sandbox,
        ingestion=ingestion,
        uploads=uploads,
        expiry=Expiry(store=store, ingestion=ingestion, uploads=uploads, now=_now),
        search=search,
        supervisor=Supervisor(store=store, runner=runner, ids=ids, now=_now),
        ids=ids,
        now=_now,
        run_expires_after_s=settings.run_expires_after_s,
        max_file_bytes=settings.max_file_bytes,
        heartbeat_s=settings.heartbeat_s,
        max_answer_tokens=settings.max_answer_tokens,
    )


def _engines(settings: Settings, catalog: Catalog) -> EnginePool:
    return EnginePool(
        catalog,
        engine_options(settings),
        max_loaded=settings.max_loaded_models,
        max_memory_bytes=settings.max_model_memory_bytes,
        keep_alive_s=settings.keep_alive_s,
        tunings=Tunings(settings.tunings_path),
    )


def engine_options(settings: Settings) -> EngineOptions:
    """How models are run."""
    return EngineOptions(
        max_context_tokens=settings.context_tokens,
        max_kv_tokens=settings.kv_cache_tokens,
        max_running=settings.max_sequences,
        max_waiting=settings.max_waiting,
        max_step_tokens=settings.batch_tokens,
        kv_cache_type=settings.kv_cache_type,
        num_gpu_layers=settings.gpu_layers,
        flash_attention=settings.flash_attention,
        is_mapped=settings.mmap,
        is_locked=settings.mlock,
        prefix_folder=settings.prefixes_path if settings.prefix_disk_bytes else None,
        max_prefix_bytes=settings.prefix_disk_bytes,
        lora_adapters=tuple(map(LoraAdapter.read, settings.lora)),
        num_decode_threads=settings.decode_threads,
        num_prefill_threads=settings.prefill_threads,
    )


async def _documents(settings: Settings, catalog: Catalog) -> LocalDocuments:
    """The starter embedder; without it, a folder `embedder` among the user's models."""
    packaged = await asyncio.to_thread(catalog.embedder_path)
    return LocalDocuments(
        packaged or settings.models_path / "embedder",
        model_id=(catalog.embedder_id() if packaged else None) or "embedder",
        num_threads=settings.embed_threads,
        parser_memory_bytes=settings.parse_memory_bytes,
        parser_timeout_s=settings.parse_timeout_s,
        ocr_languages=settings.ocr_languages,
    )


def _sandbox(settings: Settings, *, is_serving: bool) -> SessionSandbox:
    backend = choose_backend(
        settings.sandbox_engine,
        hashlib.sha256(str(settings.data_dir.resolve()).encode()).hexdigest()[:16],
        images=settings.sandbox_images,
        limits=SandboxLimits(memory_mb=settings.sandbox_memory_bytes // 2**20),
        runtime=settings.sandbox_runtime,
        docker_host=settings.docker_host,
    )
    limits = SessionLimits(
        idle_s=settings.sandbox_idle_s,
        max_age_s=settings.sandbox_max_age_s,
        max_sessions=settings.sandbox_max_sessions,
        num_spares=settings.sandbox_spares,
    )
    return SessionSandbox(backend, session_limits=limits, is_announced=is_serving)


async def _drop_unused_blobs(store: DuckDBStore, blobs: BlobStore) -> None:
    """What was uploaded and never acknowledged, or deleted in the database when the server ended."""
    in_use = Counter([file.digest async for file in store.list_all(File)])
    in_use.update([part.digest async for part in store.list_all(UploadPart)])
    in_use.update([file.text_digest async for file in store.list_all(VectorStoreFile) if file.text_digest is not None])
    await blobs.sweep(in_use)


def _command(settings: Settings) -> str:
    """How a command reaches this data directory."""
    is_usual = settings.data_dir == Settings.model_construct().data_dir
    return "offline-assistants" if is_usual else f"OFFLINE_ASSISTANTS_DATA_DIR={shlex.quote(str(settings.data_dir))} offline-assistants"


def _make_private(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
    except OSError as error:
        raise StoreError(f"The data directory {directory} cannot be used: {error.strerror}. Choose another with --data-dir.") from error


def _now() -> int:
    return int(time.time())


def _end_process(error: StoreError) -> None:
    """A database that has failed must not be written to again. Children and containers end with the pipes that this closes."""
    log.critical("%s The server ends; start it again.", error.message)
    os._exit(EXIT_DATABASE_FAILED)
