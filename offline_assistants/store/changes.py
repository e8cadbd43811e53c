"""What can be asked of the store in one transaction: changes and preconditions. Pure: knows nothing of SQL or threads.

    done = await store.commit([update := Update(Run, run_id, start), Put(step)], require=[Exists(Thread, thread_id, NotFound("..."))])
    run = done[update]

Each request first stages its changes in a branch of the transaction's `Draft`, reading through it what requests before it in the same transaction have
done. A request that fails leaves only its own branch behind.

A branch may be a project's. Then objects of other projects, and the children of these, are not there: not for preconditions, not to be changed, and nothing
can be put under them; new roots become the project's.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

from offline_assistants.domain.forgetting import searched_files, without_file
from offline_assistants.domain.objects import ApiObject, File, RootObject, Run
from offline_assistants.errors import OfflineAssistantsError, RequestError, RunIsActive
from offline_assistants.store.tables import TABLES, ActiveRun, Equal, Name, T, root_of

Result = TypeVar("Result")


class Stored(Protocol):
    """What is committed, as the write thread reads it."""

    def doc(self, cls: type[ApiObject], key: str) -> str | None: ...
    def keys(self, cls: type[ApiObject], parent: Equal) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Row:
    obj: ApiObject
    doc: str
    seq: int
    """Its place in the order of creation, if it is new."""


class Draft:
    """The changes of one transaction before they are written. Who reads through it sees them as done."""

    def __init__(self, stored: Stored, seqs: Iterator[int], below: Draft | None = None, project: str | None = None) -> None:
        self._stored = stored
        self._seqs = seqs
        self._project = project
        self.rows: ChainMap[Name, Row | None] = below.rows.new_child() if below else ChainMap()
        """What to write; None: deleted. A branch adds to its own first map only."""
        self.deleted: set[Name] = set()
        """Also those that were written again afterwards: these are new rows."""

    def branch(self, project: str | None = None) -> Draft:
        """Room for the changes of one request; None: of the server itself, which sees all."""
        return Draft(self._stored, self._seqs, below=self, project=project)

    def merge(self, branch: Draft) -> None:
        """Take over what a branch of this draft has staged."""
        self.rows.update(branch.rows.maps[0])
        self.deleted |= branch.deleted

    def has(self, cls: type[ApiObject], key: str) -> bool:
        if self._project is not None:
            return self.get(cls, key) is not None
        return self.rows[cls, key] is not None if (cls, key) in self.rows else self._stored.doc(cls, key) is not None

    def is_taken(self, cls: type[ApiObject], key: str) -> bool:
        """Whether anybody has an object with this key."""
        return self._read(cls, key) is not None

    def get(self, cls: type[T], key: str) -> T | None:
        obj = self._read(cls, key)
        return obj if obj is not None and self._is_ours(obj) else None

    def children(self, cls: type[ApiObject], parent: Equal) -> list[str]:
        stored = [key for key in self._stored.keys(cls, parent) if self.rows.get((cls, key), True)]
        staged = [key for (kind, key), row in self.rows.items() if kind is cls and row and TABLES[cls].belongs(row.obj, parent)]
        found = list(dict.fromkeys(stored + staged))
        if self._project is None or (found and self.has(cls, found[0])):  # what has one parent in common has one root
            return found
        return []

    def _read(self, cls: type[T], key: str) -> T | None:
        """Whosever it is."""
        if (cls, key) in self.rows:
            row = self.rows[cls, key]
            return None if row is None else cast("T", row.obj)
        return self._read_stored(cls, key)

    def _read_stored(self, cls: type[T], key: str) -> T | None:
        doc = self._stored.doc(cls, key)
        return None if doc is None else cls.model_validate_json(doc)

    def _is_ours(self, obj: ApiObject) -> bool:
        if self._project is None:
            return True
        cls, key = root_of(obj)
        # Children stay ours when the root was deleted a moment ago: they are deleted after it.
        root = obj if isinstance(obj, RootObject) else self._read(cls, key) or self._read_stored(cls, key)
        return isinstance(root, RootObject) and root.project == self._project

    def put(self, obj: T) -> T:
        """What is kept: a new root is the project's. Raises NotFound for a child whose root is not there.

        Raises RequestError for what could be written but not read again: an infinite number, half a surrogate pair, JSON nested too deep.
        """
        if self._project is not None and isinstance(obj, RootObject):
            obj = obj.model_copy(update={"project": self._project})
        if not self._is_ours(obj):
            cls, key = root_of(obj)
            raise TABLES[cls].not_found(key)
        name = (type(obj), obj.key)
        staged = self.rows.get(name)
        try:
            doc = obj.model_dump_json()
            type(obj).model_validate_json(doc)
        except ValueError as error:
            raise RequestError(f"The {TABLES[type(obj)].noun} cannot be kept as JSON: {error}") from error
        self.rows[name] = Row(obj, doc, staged.seq if staged else next(self._seqs))
        return obj

    def delete(self, cls: type[ApiObject], key: str) -> None:
        """That there is none, or that it is another project's, is no error."""
        if self._project is None or self.has(cls, key):
            self._drop(cls, key)

    def delete_children(self, cls: type[ApiObject], parent: Equal) -> list[str]:
        """The keys of those that there were."""
        keys = self.children(cls, parent)
        for key in keys:
            self._drop(cls, key)
        return keys

    def _drop(self, cls: type[ApiObject], key: str) -> None:
        self.rows[cls, key] = None
        self.deleted.add((cls, key))


# ── Changes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Change(Generic[Result]):
    """One change; `Result` is what `commit` tells of it."""

    grows: ClassVar[bool] = False
    """Whether it is refused while the disk is almost full."""

    @property
    def reads(self) -> tuple[Name, ...]:
        """What it will look at: read in one go for the whole transaction."""
        return ()

    def stage(self, draft: Draft) -> Result:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Put(Change[T], Generic[T]):
    """Keep an object, new or instead of the one with the same key. What the table's columns repeat (parents, created_at) must stay as it was."""

    grows: ClassVar[bool] = True
    obj: T

    def stage(self, draft: Draft) -> T:
        return draft.put(self.obj)


@dataclass(frozen=True, eq=False)
class Update(Change[T], Generic[T]):
    """Read, change, write, with nothing in between; the result is the new object. What `change` raises makes the request fail, nothing else."""

    cls: type[T]
    key: str
    change: Callable[[T], T]
    """Runs on the write thread: pure and short."""
    missing: OfflineAssistantsError | None = None
    """Raised when there is no such object; NotFound if not given."""

    @property
    def reads(self) -> tuple[Name, ...]:
        return ((self.cls, self.key),)

    def stage(self, draft: Draft) -> T:
        table = TABLES[self.cls]
        old = draft.get(self.cls, self.key)
        if old is None:
            raise self.missing or table.not_found(self.key)
        new = self.change(old)
        if new.key != old.key or table.values_of(new) != table.values_of(old):
            raise ValueError(f"an update of {table.name} may change neither the key nor {', '.join(table.columns)}")
        if new is not old:
            draft.put(new)
        return new


@dataclass(frozen=True, eq=False)
class UpdateEach(Change[list[T]], Generic[T]):
    """Update those of several objects that still exist; the result is what they became."""

    cls: type[T]
    keys: Sequence[str]
    change: Callable[[T], T]
    """As in Update."""

    @property
    def reads(self) -> tuple[Name, ...]:
        return tuple((self.cls, key) for key in self.keys)

    def stage(self, draft: Draft) -> list[T]:
        return [Update(self.cls, key, self.change).stage(draft) for key in self.keys if draft.has(self.cls, key)]


@dataclass(frozen=True, eq=False)
class Delete(Change[None]):
    """Forget an object. That there is none is no error; `Exists` makes it one."""

    cls: type[ApiObject]
    key: str

    def stage(self, draft: Draft) -> None:
        draft.delete(self.cls, self.key)


@dataclass(frozen=True, eq=False)
class DeleteChildren(Change[list[str]]):
    """Forget all objects of a parent, those of this transaction included. The result is their keys, oldest first."""

    cls: type[ApiObject]
    parent: Equal

    def stage(self, draft: Draft) -> list[str]:
        return draft.delete_children(self.cls, self.parent)


@dataclass(frozen=True, eq=False)
class Lock(Change[None]):
    """Give a thread to a run. Fails with RunIsActive while another run has it; require NotLocked for a better sentence."""

    grows: ClassVar[bool] = True
    thread_id: str
    run_id: str

    @property
    def reads(self) -> tuple[Name, ...]:
        return ((ActiveRun, self.thread_id),)

    def stage(self, draft: Draft) -> None:
        holder = draft.get(ActiveRun, self.thread_id)
        if holder is not None and holder.run_id != self.run_id:
            raise RunIsActive
        draft.put(ActiveRun(id=self.thread_id, run_id=self.run_id))


@dataclass(frozen=True, eq=False)
class TakeOver(Change[int]):
    """A new writer for a run that holds its thread: those before it are fenced off (see `Holds`). The result is the new writer's epoch."""

    thread_id: str
    run_id: str

    @property
    def reads(self) -> tuple[Name, ...]:
        return ((ActiveRun, self.thread_id),)

    def stage(self, draft: Draft) -> int:
        holder = draft.get(ActiveRun, self.thread_id)
        if holder is None or holder.run_id != self.run_id:
            raise TABLES[Run].not_found(self.run_id)
        draft.put(holder.model_copy(update={"epoch": holder.epoch + 1}))
        return holder.epoch + 1


@dataclass(frozen=True, eq=False)
class Unlock(Change[None]):
    """The thread's run has ended."""

    thread_id: str

    def stage(self, draft: Draft) -> None:
        draft.delete(ActiveRun, self.thread_id)


@dataclass(frozen=True, eq=False)
class PutAlways(Put[T]):
    """Put that the store takes on a full disk, too: what is under way has to be able to end."""

    grows: ClassVar[bool] = False


@dataclass(frozen=True, eq=False)
class Close(PutAlways[T]):
    """PutAlways of what a run has had open. Its metadata, which a client may have changed meanwhile, stays as it is; what it has of deleted files goes."""

    @property
    def reads(self) -> tuple[Name, ...]:
        return ((type(self.obj), self.obj.key), *((File, file_id) for file_id in searched_files(self.obj)))

    def stage(self, draft: Draft) -> T:
        old = draft.get(type(self.obj), self.obj.key)
        obj = self.obj if old is None else self.obj.model_copy(update={"metadata": getattr(old, "metadata", {})})
        for file_id in searched_files(obj):
            if not draft.is_taken(File, file_id):
                obj = cast("T", without_file(obj, file_id))
        draft.put(obj)
        return obj


# ── Preconditions ────────────────────────────────────────────────────────────────────────────────────────────────────


class Precondition(Protocol):
    @property
    def reads(self) -> tuple[Name, ...]: ...

    def check(self, draft: Draft) -> None:
        """Raises when the request may not happen."""
        ...


@dataclass(frozen=True)
class Exists:
    cls: type[ApiObject]
    key: str
    error: OfflineAssistantsError | None = None
    """NotFound if not given."""

    @property
    def reads(self) -> tuple[Name, ...]:
        return ((self.cls, self.key),)

    def check(self, draft: Draft) -> None:
        if not draft.has(self.cls, self.key):
            raise self.error or TABLES[self.cls].not_found(self.key)


@dataclass(frozen=True)
class IsNew:
    """No project has an object with this key, requests before it in the same transaction included."""

    cls: type[ApiObject]
    key: str
    error: OfflineAssistantsError

    @property
    def reads(self) -> tuple[Name, ...]:
        return ((self.cls, self.key),)

    def check(self, draft: Draft) -> None:
        if draft.is_taken(self.cls, self.key):
            raise self.error


@dataclass(frozen=True)
class NotLocked:
    thread_id: str
    make_error: Callable[[str], OfflineAssistantsError]
    """Takes the id of the run that has the thread."""

    @property
    def reads(self) -> tuple[Name, ...]:
        return ((ActiveRun, self.thread_id),)

    def check(self, draft: Draft) -> None:
        holder = draft.get(ActiveRun, self.thread_id)
        if holder is not None:
            raise self.make_error(holder.run_id)


@dataclass(frozen=True)
class Holds:
    """The thread is still the run's, and the run still this writer's: what a stale writer sends is refused whole."""

    thread_id: str
    run_id: str
    epoch: int
    error: OfflineAssistantsError

    @property
    def reads(self) -> tuple[Name, ...]:
        return ((ActiveRun, self.thread_id),)

    def check(self, draft: Draft) -> None:
        holder = draft.get(ActiveRun, self.thread_id)
        if holder is None or (holder.run_id, holder.epoch) != (self.run_id, self.epoch):
            raise self.error


class Committed:
    """The results of a transaction's changes, by change."""

    def __init__(self, results: Mapping[Change[Any], Any]) -> None:
        self._results = results

    def __getitem__(self, change: Change[Result]) -> Result:
        return cast("Result", self._results[change])
