"""What other objects keep of a file once it is deleted: that there was one, by its id, and nothing of what was in it. Pure.

A file's words are also in the steps that found them and in the citations that quote them, and its name is a word of its owner's. All of that goes with the
file; an answer itself is the model's, and stays.
"""

from __future__ import annotations

from functools import singledispatch

from offline_assistants.domain.objects import (
    ApiObject,
    Assistant,
    CodeInterpreterResources,
    ContentPart,
    FileCitationAnnotation,
    FileSearchCall,
    Message,
    RunStep,
    TextPart,
    Thread,
    ToolCall,
    ToolCallsDetails,
    ToolResources,
    Upload,
)

FORGOTTEN_NAME = "deleted file"
"""Where the API wants a name and there is none any more."""


@singledispatch
def without_file(obj: ApiObject, file_id: str) -> ApiObject:
    """The same without what it has of a file; the object itself when it has nothing of it."""
    raise TypeError(f"{type(obj).__name__} holds nothing of files")


def searched_files(obj: ApiObject) -> frozenset[str]:
    """The files whose words a step or a message holds."""
    match obj:
        case RunStep(step_details=ToolCallsDetails(tool_calls=calls)):
            return frozenset(result.file_id for call in calls if isinstance(call, FileSearchCall) for result in call.file_search.results)
        case Message():
            texts = [part.text for part in obj.content if isinstance(part, TextPart)]
            return frozenset(each.file_citation.file_id for text in texts for each in text.annotations if isinstance(each, FileCitationAnnotation))
        case _:
            return frozenset()


@without_file.register
def _(obj: RunStep, file_id: str) -> RunStep:
    if file_id not in searched_files(obj) or not isinstance(obj.step_details, ToolCallsDetails):
        return obj
    return obj.model_copy(update={"step_details": ToolCallsDetails(tool_calls=[_call_without(call, file_id) for call in obj.step_details.tool_calls])})


@without_file.register
def _(obj: Message, file_id: str) -> Message:
    if file_id not in searched_files(obj):
        return obj
    return obj.model_copy(update={"content": [_part_without(part, file_id) for part in obj.content]})


@without_file.register
def _(obj: Upload, file_id: str) -> Upload:
    if obj.file is None or obj.file.id != file_id:
        return obj
    return obj.model_copy(update={"filename": FORGOTTEN_NAME, "file": None})


@without_file.register(Assistant)
@without_file.register(Thread)
def _(obj: Assistant | Thread, file_id: str) -> Assistant | Thread:
    resources = _resources_without(obj.tool_resources, file_id)
    return obj if resources is obj.tool_resources else obj.model_copy(update={"tool_resources": resources})


def _resources_without(resources: ToolResources, file_id: str) -> ToolResources:
    if file_id not in resources.code_file_ids():
        return resources
    kept = [each for each in resources.code_file_ids() if each != file_id]
    return resources.model_copy(update={"code_interpreter": CodeInterpreterResources(file_ids=kept)})


def _call_without(call: ToolCall, file_id: str) -> ToolCall:
    if not isinstance(call, FileSearchCall):
        return call
    forgotten = {"file_name": FORGOTTEN_NAME, "content": None, "sections": None, "start_index": None, "best_index": None}
    results = [result.model_copy(update=forgotten) if result.file_id == file_id else result for result in call.file_search.results]
    return call.model_copy(update={"file_search": call.file_search.model_copy(update={"results": results})})


def _part_without(part: ContentPart, file_id: str) -> ContentPart:
    if not isinstance(part, TextPart):
        return part
    annotations = [
        annotation.model_copy(update={"file_citation": annotation.file_citation.without_text()})
        if isinstance(annotation, FileCitationAnnotation) and annotation.file_citation.file_id == file_id
        else annotation
        for annotation in part.text.annotations
    ]
    return part.model_copy(update={"text": part.text.model_copy(update={"annotations": annotations})})
