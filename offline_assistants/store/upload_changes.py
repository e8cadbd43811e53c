"""Changes of uploads: parts come in while one is pending, and go when it ends. Pure.

Both decide on the write thread, by the upload as it is just then: no part is kept of an upload that another request has ended meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from offline_assistants.domain.objects import Upload, UploadPart
from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.store.changes import Change, Draft, Name
from offline_assistants.store.tables import TABLES


@dataclass(frozen=True, eq=False)
class AddPart(Change[Upload]):
    """Keeps a part; the result is its upload."""

    grows: ClassVar[bool] = True
    part: UploadPart
    accept: Callable[[Upload], Upload]
    """Takes the upload as it is now, gives it as it is with the part. What it raises is the caller's error."""
    missing: OfflineAssistantsError

    @property
    def reads(self) -> tuple[Name, ...]:
        return ((Upload, self.part.upload_id),)

    def stage(self, draft: Draft) -> Upload:
        upload = draft.get(Upload, self.part.upload_id)
        if upload is None:
            raise self.missing
        accepted = self.accept(upload)
        draft.put(accepted)
        draft.put(self.part)
        return accepted


@dataclass(frozen=True, slots=True)
class Ended:
    upload: Upload
    parts: tuple[UploadPart, ...]
    """What it had; their contents are of no use any more."""


@dataclass(frozen=True, eq=False)
class EndUpload(Change[Ended]):
    """Ends an upload and forgets its parts."""

    upload_id: str
    end: Callable[[Upload], Upload]
    """Takes the upload as it is now. What it raises is the caller's error."""
    missing: OfflineAssistantsError | None = None

    @property
    def reads(self) -> tuple[Name, ...]:
        return ((Upload, self.upload_id),)

    def stage(self, draft: Draft) -> Ended:
        upload = draft.get(Upload, self.upload_id)
        if upload is None:
            raise self.missing or TABLES[Upload].not_found(self.upload_id)
        ended = self.end(upload)
        keys = draft.children(UploadPart, {"upload_id": self.upload_id})
        parts = tuple(part for key in keys if (part := draft.get(UploadPart, key)) is not None)
        for part in parts:
            draft.delete(UploadPart, part.key)
        draft.put(ended)
        return Ended(ended, parts)
