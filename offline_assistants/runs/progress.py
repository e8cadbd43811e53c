"""What a run has done in its earlier rounds, read from its steps. Knows nothing of engines or the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from offline_assistants.domain.objects import (
    CodeInterpreterCall,
    FileSearchCall,
    FunctionCall,
    ImageOutput,
    MessageCreationDetails,
    RunStep,
    ToolCall,
    ToolCallsDetails,
)
from offline_assistants.file_search.passages import Passage
from offline_assistants.ports import Section


@dataclass(frozen=True, slots=True)
class Progress:
    """The tool calls that a run has made and had answered, oldest first."""

    calls: tuple[ToolCall, ...]
    num_rounds: int
    num_told: int = 0
    """Of the calls, those before the run's last message: their images and files have been shown."""

    @classmethod
    def of(cls, steps: Sequence[RunStep]) -> Progress:
        calls: list[ToolCall] = []
        num_rounds = num_told = 0
        for step in steps:
            match step.step_details:
                case ToolCallsDetails(tool_calls=made):
                    calls += made
                    num_rounds += 1
                case MessageCreationDetails():
                    num_told = len(calls)
        return cls(tuple(calls), num_rounds, num_told)

    def files(self) -> dict[str, str]:
        """The newest file id of every path that code wrote."""
        return {file.path: file.file_id for call in _code(self.calls) for file in call.code_interpreter.files}

    def new_file_ids(self) -> list[str]:
        """Of the newest files, those that no message has shown."""
        new = {file.file_id for call in _code(self.calls[self.num_told :]) for file in call.code_interpreter.files}
        return [file_id for file_id in self.files().values() if file_id in new]

    def new_image_ids(self) -> list[str]:
        """The images that no message has shown."""
        outputs = [output for call in _code(self.calls[self.num_told :]) for output in call.code_interpreter.outputs]
        return [output.image.file_id for output in outputs if isinstance(output, ImageOutput)]

    def passages(self) -> list[Passage]:
        searches = [call.file_search for call in self.calls if isinstance(call, FileSearchCall)]
        return [
            Passage(
                search_index=i,
                result_index=j,
                file_id=result.file_id,
                file_name=result.file_name,
                text=result.text(),
                start_index=result.start_index or 0,
                sections=tuple(Section(each.start, each.end, each.page, each.heading) for each in result.sections or []),
            )
            for i, search in enumerate(searches)
            for j, result in enumerate(search.results)
        ]

    def most_repeated(self) -> int:
        """How often the commonest call, with the same arguments, was made."""
        keys = Counter(_identity(call) for call in self.calls)
        return max(keys.values(), default=0)


def _code(calls: Sequence[ToolCall]) -> list[CodeInterpreterCall]:
    return [call for call in calls if isinstance(call, CodeInterpreterCall)]


def _identity(call: ToolCall) -> tuple[str, str]:
    match call:
        case CodeInterpreterCall():
            return call.type, call.code_interpreter.input
        case FileSearchCall():
            return call.type, call.file_search.query
        case FunctionCall():
            return call.function.name, call.function.arguments
