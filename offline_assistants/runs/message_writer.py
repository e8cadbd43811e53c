"""Writes one assistant message while the model speaks: deltas, citations, images first, files linked. Knows nothing of engines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from offline_assistants.domain.objects import (
    Annotation,
    Attachment,
    AttachmentTool,
    ContentPart,
    FilePath,
    FilePathAnnotation,
    ImageFile,
    ImageFilePart,
    Message,
    Text,
    TextPart,
    Usage,
)
from offline_assistants.domain.run_state import RunEvent
from offline_assistants.domain.stream_events import annotation_delta, image_delta, text_delta
from offline_assistants.file_search.citations import Citation, CitationWriter, Piece
from offline_assistants.runs.active_run import ActiveRun


class MessageWriter:
    """One message: `write` as text comes, `close` when it is whole. Nothing is opened before there is something to say."""

    def __init__(
        self, active: ActiveRun, *, citations: CitationWriter, image_ids: Sequence[str], files: Mapping[str, str], new_file_ids: Sequence[str]
    ) -> None:
        """`image_ids` stand before the text, `new_file_ids` are attached; `files` are all that code made in this run, file id by path."""
        self._active = active
        self._image_ids = list(image_ids)
        self._files = dict(files)
        self._new_file_ids = list(new_file_ids)
        self._citations = citations
        self._message: Message | None = None
        self._value = ""
        self._annotations: list[Annotation] = []
        self._has_spoken = False

    @property
    def is_open(self) -> bool:
        return self._message is not None

    async def write(self, text: str) -> None:
        """The next piece of the model's text. White space before the first word is dropped."""
        if self._message is None:
            text = text.lstrip()
            if not text:
                return
            await self._open()
        self._say(self._citations.feed(text))

    async def close(self, usage: Usage, ending: RunEvent | None = None) -> None:
        """The text is whole, and with it the run when it is `ending`. A model that said nothing leaves an empty message, so that a client finds one."""
        if self._message is None:
            await self._open()
        self._say(self._citations.finish())
        self._link_files()
        self._publish("")
        await self._active.close_message(self._fields(), usage, ending)
        self._message = None

    async def _open(self) -> None:
        self._message = await self._active.open_message(self._fields)
        self._active.stream.publish(*(image_delta(self._message, index, file_id) for index, file_id in enumerate(self._image_ids)))

    def _say(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            if isinstance(piece, Citation):
                annotation = piece.annotation(len(self._value))
                self._value += piece.marker
                self._annotate(piece.marker, [annotation])
            elif piece.text:
                self._value += piece.text
                self._publish(piece.text)

    def _link_files(self) -> None:
        self._annotate("", file_path_annotations(self._value, self._files))

    def _annotate(self, value: str, annotations: Sequence[Annotation]) -> None:
        if annotations:
            first = len(self._annotations)
            self._annotations += annotations
            self._publish(value, [annotation_delta(first + index, annotation) for index, annotation in enumerate(annotations)])

    def _publish(self, value: str, annotations: list[dict[str, Any]] | None = None) -> None:
        if self._message is None or (self._has_spoken and not value and not annotations):
            return
        index = len(self._image_ids)
        self._active.stream.publish(text_delta(self._message, index, value, is_first=not self._has_spoken, annotations=annotations))
        self._has_spoken = True

    def _fields(self) -> dict[str, Any]:
        """The message as it is by now."""
        attachments = [Attachment(file_id=file_id, tools=[AttachmentTool(type="code_interpreter")]) for file_id in self._new_file_ids]
        images: list[ContentPart] = [ImageFilePart(image_file=ImageFile(file_id=file_id)) for file_id in self._image_ids]
        text = TextPart(text=Text(value=self._value, annotations=list(self._annotations)))
        return {"content": [*images, text], "attachments": attachments}


def file_path_annotations(value: str, files: Mapping[str, str]) -> list[FilePathAnnotation]:
    """An annotation for every place of `value` that names a file which code made; `files` is file id by path (/mnt/data/...).

    Longest form first: `sandbox:/mnt/data/x.csv` as hosted models write it, the bare path, then the bare name as small models write it.
    """
    forms = {form: file_id for path, file_id in files.items() for form in (f"sandbox:{path}", path, PurePosixPath(path).name)}
    found: list[FilePathAnnotation] = []
    taken = [False] * len(value)
    for form in sorted(forms, key=len, reverse=True):
        start = value.find(form)
        while start != -1:
            end = start + len(form)
            if not any(taken[start:end]) and _stands_alone(value, start, end):
                taken[start:end] = [True] * len(form)
                found.append(FilePathAnnotation(text=form, start_index=start, end_index=end, file_path=FilePath(file_id=forms[form])))
            start = value.find(form, end)
    return sorted(found, key=lambda annotation: annotation.start_index)


def _stands_alone(value: str, start: int, end: int) -> bool:
    """Whether the name is not a part of a longer one: `x.csv` in `x.csv.gz` or `max.csv` is not."""
    before, after = value[start - 1 : start], value[end : end + 2]
    return not (before.isalnum() or before in set("_-./") - {""}) and not (
        after[:1].isalnum() or after[:1] in set("_-/") or (after[:1] == "." and after[1:].isalnum())
    )
