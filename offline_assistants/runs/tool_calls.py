"""Carries out code_interpreter and file_search; leaves functions to the client. Knows nothing of engines."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from offline_assistants.domain.ids import Clock, Ids
from offline_assistants.domain.objects import (
    CodeFile,
    CodeInterpreterCall,
    CodeInterpreterDetails,
    CodeInterpreterTool,
    CodeOutput,
    File,
    FileSearchCall,
    FileSearchDetails,
    FileSearchTool,
    FunctionTool,
    ImageOutput,
    ImageOutputFile,
    LogsOutput,
    NamedToolChoice,
    RankingOptions,
    Run,
    RunStep,
    Thread,
    ToolCallsDetails,
    VectorStore,
    VectorStoreFile,
)
from offline_assistants.domain.stream_events import code_output_delta
from offline_assistants.errors import NotFound, OfflineAssistantsError, SandboxError, SandboxUnavailable, StoreError
from offline_assistants.ports import MAX_SANDBOX_BYTES, ExecutionEnded, FileMade, Image, Logs, Sandbox, SandboxFile, ToolSpec
from offline_assistants.runs.active_run import ActiveRun
from offline_assistants.runs.search import FileSearch
from offline_assistants.runs.table_columns import MAX_HEADER_BYTES, Columns, columns_of, is_table
from offline_assistants.store.blobs import BlobStore
from offline_assistants.store.changes import Put
from offline_assistants.store.duckdb_store import DuckDBStore
from offline_assistants.store.project_store import ProjectStore

log = logging.getLogger(__name__)

DEFAULT_NUM_RESULTS = 20
DEFAULT_RANKING = RankingOptions(ranker="default_2024_08_21", score_threshold=0.0)
MAX_RESTORED_FILES, MAX_RESTORED_BYTES = 100, 150_000_000
"""Of what a thread's code made: put into a new session when the old one is gone. A session's folder holds 256 MB."""
_SEARCH_SCHEMA = {
    "type": "object",
    # A small model that repeats itself would fill its whole context with one query.
    "properties": {"query": {"type": "string", "minLength": 1, "maxLength": 300}},
    "required": ["query"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class ToolSetting:
    """What a run's tools can reach: the assistant's and the thread's files and vector stores."""

    code_files: tuple[File, ...]
    vector_store_ids: tuple[str, ...]
    searchable_names: tuple[str, ...]
    columns: Mapping[str, Columns] = field(default_factory=dict[str, Columns])
    """Of tables in plain text, by file id: so a program can be written without looking into the file first."""


@dataclass(slots=True)
class CodeResult:
    """What one execution has brought so far."""

    call_id: str
    code: str
    outputs: list[CodeOutput] = field(default_factory=list[CodeOutput])
    files: list[CodeFile] = field(default_factory=list[CodeFile])

    def call(self) -> CodeInterpreterCall:
        details = CodeInterpreterDetails(input=self.code, outputs=list(self.outputs), files=list(self.files))
        return CodeInterpreterCall(id=self.call_id, code_interpreter=details)


class BuiltinTools:
    """The tools that the server itself carries out."""

    def __init__(self, *, store: DuckDBStore, blobs: BlobStore, sandbox: Sandbox, search: FileSearch, ids: Ids, now: Clock, code_timeout_s: float) -> None:
        self._store = store
        self._blobs = blobs
        self._sandbox = sandbox
        self._search = search
        self._ids = ids
        self._now = now
        self._code_timeout_s = code_timeout_s

    async def setting(self, run: Run) -> ToolSetting:
        """What `run` can reach just now."""
        thread = await self._thread(run)
        resources = [run.tool_resources, thread.tool_resources]
        file_ids = list(dict.fromkeys(file_id for each in resources for file_id in each.code_file_ids()))
        store_ids = tuple(dict.fromkeys(store_id for each in resources for store_id in each.vector_store_ids()))
        project = ProjectStore(self._store, thread.project)
        files = await project.get_many(File, file_ids)
        store_ids = tuple(await project.get_many(VectorStore, store_ids))
        names = [await self._searchable_names(store_id) for store_id in store_ids]
        columns = {file.id: await self._columns(file) for file in files.values()}
        if any(isinstance(tool, CodeInterpreterTool) for tool in run.tools) and await self._sandbox.files_of(run.thread_id) is None:
            await self._sandbox.warm()  # while the model still thinks of its program
        return ToolSetting(tuple(files.values()), store_ids, tuple(dict.fromkeys(name for each in names for name in each)), columns)

    async def _columns(self, file: File) -> Columns:
        if not is_table(file.filename):
            return Columns()
        try:
            return columns_of(file.filename, await self._blobs.read_head(file.digest, MAX_HEADER_BYTES))
        except StoreError:
            return Columns()  # deleted a moment ago; the code will say so

    async def _thread(self, run: Run) -> Thread:
        thread = await self._store.get(Thread, run.thread_id)
        if thread is None:
            raise NotFound(f"No thread found with id '{run.thread_id}'.")
        return thread

    async def _searchable_names(self, vector_store_id: str) -> list[str]:
        page = await self._store.list_page(VectorStoreFile, parent={"vector_store_id": vector_store_id}, limit=20, order="asc")
        return [file.filename for file in page.items if file.status == "completed"]

    # ── code_interpreter ─────────────────────────────────────────────────────────────────────────────────────────────

    async def run_code(self, active: ActiveRun, *, index: int, call_id: str, code: str, files: tuple[File, ...]) -> CodeInterpreterCall:
        """Run `code` in the thread's session, announcing logs, images and files as they come. What goes wrong becomes text that the model sees."""
        result, thread_id = CodeResult(call_id, code), active.run.thread_id
        active.call_drafts[index] = result.call
        try:
            held = await self._sandbox.files_of(thread_id)
            fitting = self._fitting(active, index, result, files)
            given = [each for file in fitting if file.id not in (held or ()) and (each := await self._input(file)) is not None]
            made = await self._made_before(thread_id) if held is None else None
            given += await self._contents(made) if made else []
            async with aclosing(self._sandbox.execute(thread_id, code, given, self._code_timeout_s, has_run_before=made is not None)) as events:
                async for event in events:
                    await self._take(active, index, result, event)
        except SandboxUnavailable as error:
            self._say(active, index, result, f"{error.message}\n")
        except SandboxError as error:
            log.warning("run %s: %s", active.run.id, error.message)
            self._say(active, index, result, f"The sandbox failed, this is not an error of the program: {error.message}\n")
        return result.call()

    def _fitting(self, active: ActiveRun, index: int, result: CodeResult, files: Sequence[File]) -> list[File]:
        """Those for which a session has room, the first first. The others are named, and never read."""
        fitting, room = list[File](), MAX_SANDBOX_BYTES
        for file in files:
            if file.bytes <= room:
                fitting.append(file)
                room -= file.bytes
            else:
                reason = f"it has {file.bytes / 1e6:.0f} MB, and of the {MAX_SANDBOX_BYTES / 1e6:.0f} MB that all files may have, {room / 1e6:.0f} MB are left"
                self._say(active, index, result, f"[The file {file.filename} could not be placed in /mnt/data: {reason}.]\n")
        return fitting

    async def _input(self, file: File, path: str | None = None) -> SandboxFile | None:
        """None for a file that was deleted a moment ago: the code does not find it."""
        try:
            return SandboxFile(file.id, file.filename, await self._blobs.read(file.digest), path)
        except StoreError:
            if await self._store.get(File, file.id) is None:
                return None
            raise

    async def _made_before(self, thread_id: str) -> dict[str, str] | None:
        """Path -> file id of what the thread's code made in earlier calls, newest last; None when it has not run any."""
        has_run, made = False, dict[str, str]()
        async for step in self._store.list_all(RunStep, parent={"thread_id": thread_id}):
            for call in step.step_details.tool_calls if isinstance(step.step_details, ToolCallsDetails) else ():
                if isinstance(call, CodeInterpreterCall) and step.status != "in_progress":
                    has_run = True
                    for file in call.code_interpreter.files:
                        made.pop(file.path, None)
                        made[file.path] = file.file_id
        return made if has_run else None

    async def _contents(self, made: dict[str, str]) -> list[SandboxFile]:
        """The newest of the files, for a new session. Those that were deleted since, or are more than fits, are left out."""
        files = await self._store.get_many(File, made.values())
        restored, num_bytes = list[SandboxFile](), 0
        for path, file_id in list(made.items())[: -MAX_RESTORED_FILES - 1 : -1]:
            file = files.get(file_id)
            if file is not None and num_bytes + file.bytes <= MAX_RESTORED_BYTES and (content := await self._input(file, path)) is not None:
                num_bytes += file.bytes
                restored.append(content)
        return restored

    async def _take(self, active: ActiveRun, index: int, result: CodeResult, event: Logs | Image | FileMade | ExecutionEnded) -> None:
        match event:
            case Logs(text=text):
                self._say(active, index, result, text)
            case Image(content=content, filename=filename):
                file = await self._save(active.run, filename, content)
                self._add(active, index, result, ImageOutput(image=ImageOutputFile(file_id=file.id)))
            case FileMade(path=path, content=content):
                file = await self._save(active.run, PurePosixPath(path).name, content)
                result.files = [each for each in result.files if each.path != path] + [CodeFile(path=path, file_id=file.id)]
            case ExecutionEnded():
                pass  # what the model has to know of the end is in the logs

    def _say(self, active: ActiveRun, index: int, result: CodeResult, text: str) -> None:
        """Logs go on in the same output; an image between them begins a new one."""
        if result.outputs and isinstance(last := result.outputs[-1], LogsOutput):
            result.outputs[-1] = LogsOutput(logs=last.logs + text)
            self._announce(active, index, len(result.outputs) - 1, LogsOutput(logs=text))
        else:
            self._add(active, index, result, LogsOutput(logs=text))

    def _add(self, active: ActiveRun, index: int, result: CodeResult, output: CodeOutput) -> None:
        result.outputs.append(output)
        self._announce(active, index, len(result.outputs) - 1, output)

    def _announce(self, active: ActiveRun, index: int, output_index: int, output: CodeOutput) -> None:
        if active.step is not None:
            active.stream.publish(code_output_delta(active.step, index, output_index, output))

    async def _save(self, run: Run, filename: str, content: bytes) -> File:
        """A file of the thread's project."""
        project = ProjectStore(self._store, (await self._thread(run)).project)
        blob = await self._blobs.put_bytes(content)
        file = File(id=self._ids.new("file-"), bytes=blob.size, created_at=self._now(), filename=filename, purpose="assistants_output", digest=blob.digest)
        try:
            await project.commit([Put(file)])
        except OfflineAssistantsError:
            await self._blobs.delete(blob.digest)  # nobody names it
            raise
        return file

    # ── file_search ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def search(self, run: Run, *, call_id: str, query: str, setting: ToolSetting) -> FileSearchCall:
        """Passages for `query`, best first, not yet cut to the prompt's budget. Raises SearchError."""
        options = next((tool.file_search for tool in run.tools if isinstance(tool, FileSearchTool)), None)
        ranking = options.ranking_options if options and options.ranking_options else DEFAULT_RANKING
        limit = options.max_num_results if options and options.max_num_results else DEFAULT_NUM_RESULTS
        results = await self._search.find(setting.vector_store_ids, [query], max_num_results=limit, score_threshold=ranking.score_threshold)
        shown = ranking if ranking.ranker != "auto" else ranking.model_copy(update={"ranker": "default_2024_08_21"})
        return FileSearchCall(id=call_id, file_search=FileSearchDetails(ranking_options=shown, results=results, query=query))

    async def is_indexing(self, run: Run) -> bool:
        """Whether the vector store of the run's thread is still being indexed. Raises OfflineAssistantsError when one that the run may search has expired."""
        thread = await self._store.get(Thread, run.thread_id)
        own_ids = thread.tool_resources.vector_store_ids() if thread else []
        stores = await self._store.get_many(VectorStore, [*own_ids, *run.tool_resources.vector_store_ids()])
        now = self._now()
        for store in stores.values():
            if store.at(now).status == "expired":
                raise OfflineAssistantsError(f"Vector store {store.id} is expired. Attach another one to the thread or the assistant.")
        return any(stores[store_id].status == "in_progress" for store_id in own_ids if store_id in stores)


def tool_specs(run: Run, setting: ToolSetting) -> tuple[ToolSpec, ...]:
    """The run's tools as the model sees them."""
    specs: list[ToolSpec] = []
    for tool in run.tools:
        match tool:
            case CodeInterpreterTool():
                specs.append(code_spec([(file.filename, setting.columns.get(file.id, Columns())) for file in setting.code_files]))
            case FileSearchTool():
                specs.append(search_spec(setting.searchable_names))
            case FunctionTool(function=function):
                specs.append(ToolSpec(function.name, function.description or "", function.parameters or {"type": "object", "properties": {}}))
    return tuple(specs)


def code_spec(files: Sequence[tuple[str, Columns]]) -> ToolSpec:
    """code_interpreter, told of these files: each a name and, for a table, its columns."""
    text = "Runs Python code and shows what it prints. Variables are kept. Save files in /mnt/data."
    listed = ", ".join(f'"/mnt/data/{name}"' + (f" ({columns})" if columns.names else "") for name, columns in files)
    return ToolSpec("code_interpreter", f"{text} Files: {listed}." if listed else text, {"type": "object"}, syntax="code")


def search_spec(names: Sequence[str]) -> ToolSpec:
    """file_search, told of the names of files that can be searched."""
    return ToolSpec("file_search", "Searches the user's documents" + (f" ({', '.join(names)})." if names else "."), _SEARCH_SCHEMA)


def tool_choice(run: Run) -> str:
    """The run's tool_choice in the words of the engines' port."""
    match run.tool_choice:
        case NamedToolChoice(type="function", function=function) if function is not None:
            return f"={function.name}"
        case NamedToolChoice(type=name):
            return f"={name}"
        case str(choice):
            return choice
