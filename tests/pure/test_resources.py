"""What a client changes of tool_resources, while files are deleted beside it."""

from __future__ import annotations

import pytest

from offline_assistants.api.resources import ResourcesPlan
from offline_assistants.domain.objects import CodeInterpreterResources, FileSearchResources, ToolResources


def resources(*file_ids: str, store: str | None = None) -> ToolResources:
    search = FileSearchResources(vector_store_ids=[store]) if store else None
    return ToolResources(code_interpreter=CodeInterpreterResources(file_ids=list(file_ids)), file_search=search)


@pytest.mark.parametrize(
    ("planned", "now", "becomes"),
    [
        (resources("a", "b", "c"), resources("a", "b"), resources("a", "b", "c")),
        (resources("a", "b", "c"), resources("b"), resources("b", "c")),
        (resources("c"), resources("b"), resources("c")),
        (resources("a", "b"), resources("b", "d"), resources("b", "d")),
        (resources("a", "b", store="vs"), resources("b"), resources("b", store="vs")),
        (resources("a", "b"), resources("a", "b", store="vs"), resources("a", "b", store="vs")),
    ],
    ids=["added", "added while a was deleted", "set anew", "not asked for", "a store, while a was deleted", "another set a store"],
)
def test_a_plan_changes_what_was_asked_for_and_brings_nothing_back(planned: ToolResources, now: ToolResources, becomes: ToolResources):
    assert ResourcesPlan(planned).onto(now, old=resources("a", "b")) == becomes
