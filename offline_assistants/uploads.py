"""Files that arrive in parts: created, filled, completed to one file, cancelled, expired. Knows nothing of HTTP.

A part is on the disk and in the database when it is acknowledged, so a restart loses none. Parts go when their upload ends, however it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from offline_assistants.domain.ids import Clock, Ids
from offline_assistants.domain.objects import File, FileExpiresAfter, FilePurpose, Upload, UploadPart
from offline_assistants.errors import NotFound, OfflineAssistantsError, RequestError
from offline_assistants.store.blobs import BlobInfo, BlobStore
from offline_assistants.store.changes import Put
from offline_assistants.store.duckdb_store import DuckDBStore
from offline_assistants.store.project_store import ProjectStore
from offline_assistants.store.upload_changes import AddPart, EndUpload

EXPIRES_AFTER_S = 3600
BATCH_FILES_EXPIRE_AFTER_S = 30 * 86_400


class Uploads:
    def __init__(self, *, store: DuckDBStore, blobs: BlobStore, ids: Ids, now: Clock, max_upload_bytes: int) -> None:
        """`max_upload_bytes`: what the parts of one upload may hold together."""
        self._store = store
        self._blobs = blobs
        self._ids = ids
        self._now = now
        self._max_upload_bytes = max_upload_bytes

    async def create(
        self, project: ProjectStore, *, filename: str, purpose: FilePurpose, num_bytes: int, mime_type: str, expires_after: FileExpiresAfter | None
    ) -> Upload:
        """Raises RequestError for more bytes than one upload may have."""
        if num_bytes > self._max_upload_bytes:
            message = f"Invalid 'bytes': integer above maximum value. Expected a value <= {self._max_upload_bytes}, but got {num_bytes} instead."
            raise RequestError(message, param="bytes", code="integer_above_max_value")
        now = self._now()
        upload = Upload(
            id=self._ids.new("upload_"),
            bytes=num_bytes,
            created_at=now,
            expires_at=now + EXPIRES_AFTER_S,
            filename=filename,
            purpose=purpose,
            mime_type=mime_type,
            expires_after=expires_after,
        )
        await project.commit([Put(upload)])
        return upload

    async def get(self, project: ProjectStore, upload_id: str) -> Upload:
        """As it is now. Raises NotFound."""
        upload = await project.get(Upload, upload_id)
        if upload is None:
            raise _unknown(upload_id)
        return upload.at(self._now())

    async def get_pending(self, project: ProjectStore, upload_id: str) -> Upload:
        """Raises NotFound, and RequestError for one that has ended."""
        upload = await self.get(project, upload_id)
        _check_pending(upload)
        return upload

    async def add_part(self, project: ProjectStore, upload_id: str, content: BlobInfo) -> UploadPart:
        """Takes over a content that was put; it is given back when this raises. Raises NotFound, RequestError, StoreError."""
        part = UploadPart(id=self._ids.new("part_"), created_at=self._now(), upload_id=upload_id, num_bytes=content.size, digest=content.digest)

        def accept(upload: Upload) -> Upload:
            _check_pending(upload.at(part.created_at))
            num_bytes = upload.num_received_bytes + part.num_bytes
            if num_bytes > self._max_upload_bytes:
                raise RequestError(f"The parts of an upload hold at most {self._max_upload_bytes} bytes; this would make {num_bytes}.", param="data")
            return upload.model_copy(update={"num_received_bytes": num_bytes})

        try:
            await project.commit([AddPart(part, accept, _unknown(upload_id))])
        except OfflineAssistantsError:
            await self._blobs.delete(content.digest)
            raise
        return part

    async def complete(self, project: ProjectStore, upload_id: str, part_ids: Sequence[str], *, md5: str | None = None) -> Upload:
        """The parts in this order become a file. A second time with the same parts changes nothing, so that a client may repeat what it saw no answer to.

        Raises NotFound, RequestError (then the upload stays pending), StoreError.
        """
        try:
            return await self._complete(project, upload_id, part_ids, md5)
        except OfflineAssistantsError:
            upload = await self.get(project, upload_id)
            if upload.status == "completed" and upload.part_ids == list(part_ids):
                return upload
            _check_pending(upload)  # another request has ended it meanwhile, and with it its parts
            raise

    async def cancel(self, project: ProjectStore, upload_id: str) -> Upload:
        """Raises NotFound, and RequestError for one that has ended."""

        def cancelled(upload: Upload) -> Upload:
            _check_pending(upload.at(self._now()))
            return upload.model_copy(update={"status": "cancelled"})

        return await self._end(project, upload_id, cancelled)

    async def expire(self, upload_id: str) -> None:
        """Let go of what an upload holds whose time has come; one that has ended otherwise stays as it is. Raises NotFound."""
        await self._end(self._store, upload_id, lambda upload: upload.at(self._now()))

    async def _complete(self, project: ProjectStore, upload_id: str, part_ids: Sequence[str], md5: str | None) -> Upload:
        upload = await self.get_pending(project, upload_id)
        content = await self._blobs.join(await self._digests(project, upload, part_ids))
        try:
            return await self._become(project, upload, part_ids, content, md5)
        except OfflineAssistantsError:
            await self._blobs.delete(content.digest)
            raise

    async def _digests(self, project: ProjectStore, upload: Upload, part_ids: Sequence[str]) -> list[str]:
        if len(set(part_ids)) != len(part_ids):
            raise RequestError("Invalid 'part_ids': a part is there twice.", param="part_ids", code="invalid_value")
        parts = await project.get_many(UploadPart, part_ids)
        unknown = next((part_id for part_id in part_ids if part_id not in parts or parts[part_id].upload_id != upload.id), None)
        if unknown is not None:
            raise RequestError(f"Invalid 'part_ids': upload {upload.id} has no part '{unknown}'.", param="part_ids", code="invalid_value")
        num_bytes = sum(parts[part_id].num_bytes for part_id in part_ids)
        if num_bytes != upload.bytes:
            message = f"The parts hold {num_bytes} bytes, but the upload was created for {upload.bytes}. Add what is missing, or name other parts."
            raise RequestError(message, param="part_ids", code="invalid_value")
        return [parts[part_id].digest for part_id in part_ids]

    async def _become(self, project: ProjectStore, upload: Upload, part_ids: Sequence[str], content: BlobInfo, md5: str | None) -> Upload:
        if md5 is not None and md5.lower() != content.md5:
            message = f"Invalid 'md5': the parts in this order have the md5 checksum {content.md5}. Send the damaged part again, or correct the order."
            raise RequestError(message, param="md5", code="invalid_value")
        file = new_file(self._ids, self._now(), upload.filename, upload.purpose, content, upload.expires_after)

        def completed(now_there: Upload) -> Upload:
            _check_pending(now_there.at(file.created_at))
            return now_there.model_copy(update={"status": "completed", "file": file, "part_ids": list(part_ids)})

        return await self._end(project, upload.id, completed, Put(file))

    async def _end(self, store: DuckDBStore | ProjectStore, upload_id: str, end: Callable[[Upload], Upload], *changes: Put[File]) -> Upload:
        ending = EndUpload(upload_id, end, _unknown(upload_id))
        ended = (await store.commit([*changes, ending]))[ending]
        for part in ended.parts:
            await self._blobs.delete(part.digest)
        return ended.upload


def new_file(ids: Ids, now: int, filename: str, purpose: FilePurpose, content: BlobInfo, expires_after: FileExpiresAfter | None) -> File:
    """A file with this content. One for batches is kept for 30 days where nothing is said, as the API has it; others until they are deleted."""
    seconds = expires_after.seconds if expires_after else BATCH_FILES_EXPIRE_AFTER_S if purpose == "batch" else None
    return File(
        id=ids.new("file-"),
        bytes=content.size,
        created_at=now,
        expires_at=None if seconds is None else now + seconds,
        filename=filename,
        purpose=purpose,
        digest=content.digest,
    )


def _check_pending(upload: Upload) -> None:
    if upload.status != "pending":
        raise RequestError(f"Upload {upload.id} has status '{upload.status}'; only a pending one can be changed. Create another.", code="invalid_upload_status")


def _unknown(upload_id: str) -> NotFound:
    return NotFound(f"No upload found with id '{upload_id}'.")
