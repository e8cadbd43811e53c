"""Objects out of a server into files, and back: the commands `export` and `import`. Knows the server by its socket only.

NAME.jsonl      one object a line
NAME.files/     the content of each file, by the file's id
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager, aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import httpx

from offline_assistants.errors import OfflineAssistantsError

MAX_OBJECTS, MAX_CHARACTERS = 200, 4_000_000
"""What goes to the server at once."""
CHUNK_BYTES = 1024 * 1024
_RANKS = {"file": 0, "vector_store": 1, "vector_store.file": 2, "assistant": 2, "thread": 2, "thread.message": 3, "thread.run": 4, "thread.run.step": 5}
"""What others refer to comes first."""
Json = dict[str, Any]
Advance = Callable[[int], None]
"""Called with so many more: bytes, or objects."""
Watch = Callable[[str, int, str], AbstractContextManager[Advance]]
"""Shows how far something is: what it is, how many there are (0 where that is not known), and of what, "bytes" or "objects"."""


@contextmanager
def unwatched(_what: str, _total: int, _unit: str) -> Generator[Advance]:
    yield lambda _more: None


# ── Export ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def export_to(client: httpx.AsyncClient, target: Path, *, contents: Path, project: str | None, watch: Watch = unwatched) -> Counter[str]:
    """Write everything, or one project, to `target` (JSONL), and contents into the folder `contents`. How many of each kind. Raises OfflineAssistantsError."""
    return await _write(client, _everything(client, project), target, contents, watch)


async def export_vector_store(client: httpx.AsyncClient, store_id: str, target: Path, *, contents: Path, watch: Watch = unwatched) -> Counter[str]:
    """As `export_to`, of one vector store of the project default and its files."""
    return await _write(client, _vector_store(client, store_id), target, contents, watch)


async def _everything(client: httpx.AsyncClient, project: str | None) -> AsyncGenerator[str]:
    async with client.stream("GET", "/admin/export", params={"project": project} if project else {}) as response:
        await _check(response)
        async for line in lines_of(response):
            yield line


async def _vector_store(client: httpx.AsyncClient, store_id: str) -> AsyncGenerator[str]:
    """The store, and each of its files, before that which says that it is in the store."""
    path = f"/v1/vector_stores/{quote(store_id, safe='')}"
    yield json.dumps(await _get(client, path))
    page: Json = {"has_more": True, "last_id": None}
    while page["has_more"]:
        page = await _get(client, f"{path}/files", limit=100, order="asc", **({"after": page["last_id"]} if page["last_id"] else {}))
        for row in page["data"]:
            file = await client.get(f"/v1/files/{row['id']}")
            if file.is_success:  # else it was deleted meanwhile
                yield file.text
                yield json.dumps(row)


async def _get(client: httpx.AsyncClient, path: str, **query: Any) -> Json:
    response = await client.get(path, params=query)
    await _check(response)
    return response.json()


async def _write(client: httpx.AsyncClient, lines: AsyncGenerator[str], target: Path, contents: Path, watch: Watch) -> Counter[str]:
    """First the objects, then the contents of the files among them; what stood at `target` is replaced once all is written."""
    counts: Counter[str] = Counter()
    num_bytes = 0
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f"{target.name}.unfinished")
    with unfinished.open("wb") as file, watch("writing objects", 0, "objects") as advance:
        async with aclosing(lines):
            async for line in lines:
                obj: Json = json.loads(line)
                file.write(f"{line}\n".encode())
                counts[obj["object"]] += 1
                num_bytes += obj["bytes"] if obj["object"] == "file" else 0
                advance(1)
    with watch("writing contents", num_bytes, "bytes") as advance:
        for exported in _lines(unfinished):
            if exported["object"] == "file":
                contents.mkdir(exist_ok=True)  # noqa: ASYNC240 a command has nothing else to do
                await _download(client, exported["id"], contents / exported["id"], advance)
    unfinished.replace(target)
    return counts


def contents_beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}.files")


def _lines(path: Path) -> Generator[Json]:
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line)


async def _download(client: httpx.AsyncClient, file_id: str, target: Path, advance: Advance) -> None:
    async with client.stream("GET", f"/admin/contents/{file_id}") as response:
        if response.status_code == 404:
            return  # deleted meanwhile
        await _check(response)
        with target.open("wb") as file:
            async for chunk in response.aiter_bytes():
                file.write(chunk)
                advance(len(chunk))


# ── Import ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Entry:
    """An object of a file, and where it stands there. Objects themselves are read again when it is their turn: a file may be larger than memory."""

    rank: int
    created_at: int
    line: int
    offset: int
    num_bytes: int
    """Its share of the line."""
    item: int | None
    """Its place in a list that is one line."""

    @property
    def place(self) -> str:
        return f"line {self.line}" if self.item is None else f"line {self.line}, item {self.item + 1}"


@dataclass(slots=True)
class Index:
    entries: list[Entry]
    """In the order in which they can be put into a store."""
    unread: list[tuple[str, str]]
    """Places that hold no object, and why."""
    whole: list[Json] | None
    """The objects of a file that is one JSON document."""


async def import_from(client: httpx.AsyncClient, path: Path, *, project: str | None, say: Callable[[str, str], None], watch: Watch = unwatched) -> Counter[str]:
    """Put what a file holds into the server; `say` gets the place and the reason of each refusal. How many had which outcome."""
    try:
        num_bytes = path.stat().st_size  # noqa: ASYNC240 a command has nothing else to do
        with watch("reading", num_bytes, "bytes") as advance:
            index = read_index(path, advance)
        counts = Counter({"refused": len(index.unread)})
        for place, reason in index.unread:
            say(place, reason)
        with watch("importing", num_bytes + _size_of_contents(path), "bytes") as advance:
            async for batch in _batches(client, path, index, advance):
                response = await client.post("/admin/import", json={"project": project, "objects": [obj for _, obj in batch]})
                await _check(response)
                for (entry, obj), result in zip(batch, response.json()["results"], strict=True):
                    advance(entry.num_bytes)
                    counts[result["outcome"]] += 1
                    if result["outcome"] == "refused":
                        say(entry.place, f"{obj.get('id')}: {result['reason']}")
        return counts
    except OSError as error:
        raise OfflineAssistantsError(f"{path} cannot be read: {error.strerror}.") from error


def read_index(path: Path, advance: Advance = lambda _: None) -> Index:
    """Which objects a file holds: one a line, or one document; lists of the API and plain arrays are taken apart. Raises OSError."""
    index = Index([], [], None)
    with path.open("rb") as file:
        first = next((line for line in file if line.strip()), b"")
        if _parsed(first) is None and (whole := _parsed(path.read_bytes())) is not None:
            index.whole = _objects(whole)
            _add(index, index.whole, line=1, offset=0, num_bytes=path.stat().st_size, is_list=True)
        else:
            file.seek(0)
            offset = 0
            for number, line in enumerate(file, start=1):
                if line.strip():
                    parsed = _parsed(line)
                    if parsed is None:
                        index.unread.append((f"line {number}", "this is no JSON"))
                    else:
                        _add(index, _objects(parsed), line=number, offset=offset, num_bytes=len(line), is_list=not _is_object(parsed))
                offset += len(line)
                advance(len(line))
    index.entries.sort(key=lambda entry: (entry.rank, entry.created_at))
    return index


def _add(index: Index, objects: list[Json], *, line: int, offset: int, num_bytes: int, is_list: bool) -> None:
    for item, obj in enumerate(objects):
        created_at = obj.get("created_at")
        rank = _RANKS.get(str(obj.get("object")), max(_RANKS.values()))
        created_at = created_at if isinstance(created_at, int) else 0
        index.entries.append(Entry(rank, created_at, line, offset, num_bytes // len(objects), item if is_list else None))


def _parsed(text: bytes) -> object | None:
    """None for what is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_object(value: object) -> bool:
    return isinstance(value, dict) and cast("Json", value).get("object", "list") != "list"


def _objects(value: Any) -> list[Json]:
    """The objects in a document: itself, those of a list of the API or of an array, or those of arrays by name. Oldest first where all are of one kind."""
    if _is_object(value):
        return [value]
    if isinstance(value, dict):
        known = cast("Json", value)
        value = (
            known["data"]
            if isinstance(known.get("data"), list)
            else [each for part in known.values() if isinstance(part, list) for each in cast("list[Any]", part)]
        )
    found = [cast("Json", each) for each in cast("list[Any]", value) if isinstance(each, dict)] if isinstance(value, list) else []
    times = [each.get("created_at") or 0 for each in found]
    is_newest_first = len({each.get("object") for each in found}) == 1 and times == sorted(times, reverse=True)
    return found[::-1] if is_newest_first else found


async def _batches(client: httpx.AsyncClient, path: Path, index: Index, advance: Advance) -> AsyncGenerator[list[tuple[Entry, Json]]]:
    batch: list[tuple[Entry, Json]] = []
    num_characters, rank = 0, -1
    with path.open("rb") as file:
        for entry in index.entries:
            obj = _read(file, index, entry)
            if obj.get("object") == "file":
                obj = await _with_content(client, path, obj, advance)
            size = len(json.dumps(obj))
            if batch and (len(batch) == MAX_OBJECTS or num_characters + size > MAX_CHARACTERS or entry.rank != rank):
                yield batch
                batch, num_characters = [], 0
            batch.append((entry, obj))
            num_characters, rank = num_characters + size, entry.rank
    if batch:
        yield batch


def _read(file: Any, index: Index, entry: Entry) -> Json:
    if index.whole is not None:
        return index.whole[entry.item or 0]
    file.seek(entry.offset)
    return _objects(json.loads(file.readline()))[entry.item or 0]


async def _with_content(client: httpx.AsyncClient, path: Path, obj: Json, advance: Advance) -> Json:
    """The file as the server takes it: with the blob that its content went into, if there is a content."""
    found = find_content(path, str(obj.get("id")), str(obj.get("filename")))
    kept = {name: value for name, value in obj.items() if name != "digest"}
    if found is None:
        return kept
    response = await client.post("/admin/contents", content=_chunks(found, advance), timeout=None)
    await _check(response)
    return kept | response.json()


def find_content(path: Path, file_id: str, filename: str) -> Path | None:
    """By the file's id, with any ending, or by its name; in NAME.files or in files, beside the export."""
    for folder in _content_folders(path):
        if not folder.is_dir():
            continue
        wanted = [each for each in folder.iterdir() if each.is_file() and (each.name in (file_id, filename) or each.stem == file_id)]
        if wanted:
            return min(wanted, key=lambda each: each.name == filename)  # the id says more than the name
    return None


def _content_folders(path: Path) -> tuple[Path, ...]:
    return (contents_beside(path), path.with_name("files"))


def _size_of_contents(path: Path) -> int:
    return sum(each.stat().st_size for folder in _content_folders(path) if folder.is_dir() for each in folder.iterdir() if each.is_file())


async def _chunks(path: Path, advance: Advance) -> AsyncGenerator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
            advance(len(chunk))


async def lines_of(response: httpx.Response) -> AsyncGenerator[str]:
    """As `response.aiter_lines`, which also ends lines at characters that may stand in JSON (U+0085, U+2028, U+2029)."""
    rest = ""
    async for text in response.aiter_text():
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            yield line
    if rest:
        yield rest


async def _check(response: httpx.Response) -> None:
    if response.is_error:
        await response.aread()
        raise OfflineAssistantsError(reason_of(response))


def reason_of(response: httpx.Response) -> str:
    """Why the server refused, in its own words; where it has none (something else answers, or it broke), what it sent."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        sent = " ".join(response.text.split())[:200]
        return f"The server answered {response.status_code} {response.reason_phrase}{f': {sent}' if sent else ''}. Its log says more."
