"""Schemas that no answer could be held to are refused when they come, and not first when a model is to answer."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types.beta import Assistant, Thread

GOOD = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
BAD = {"type": "object", "properties": {"city": {"not": {"type": "string"}}}}


def function(parameters: dict[str, Any]) -> Any:
    return {"type": "function", "function": {"name": "f", "parameters": parameters}}


def form(schema: dict[str, Any]) -> Any:
    return {"type": "json_schema", "json_schema": {"name": "place", "schema": schema, "strict": True}}


TOOLS: dict[str, Any] = {"tools": [function(GOOD) | {"function": {"name": "g"}}, function(BAD)]}
FORM: dict[str, Any] = {"response_format": form(BAD)}


@pytest.mark.parametrize(("fields", "param"), [(TOOLS, "tools[1].function.parameters"), (FORM, "response_format")])
def test_assistants_and_runs_and_chats_are_refused_with_the_keyword(
    client: openai.OpenAI, assistant: Assistant, thread: Thread, fields: dict[str, Any], param: str
):
    beta, said = client.beta, [{"role": "user", "content": "Hi"}]
    attempts: list[Any] = [
        lambda: beta.assistants.create(model="scripted", **fields),
        lambda: beta.assistants.update(assistant.id, **fields),
        lambda: beta.threads.runs.create(thread.id, assistant_id=assistant.id, **fields),
        lambda: beta.threads.create_and_run(assistant_id=assistant.id, thread={"messages": said}, **fields),
        lambda: client.chat.completions.create(model="scripted", messages=said, **fields),
    ]

    for attempt in attempts:
        with pytest.raises(openai.BadRequestError, match="keyword 'not' is not supported") as caught:
            attempt()
        assert caught.value.param == param
    assert not beta.threads.runs.list(thread.id).data


def test_legacy_functions_say_where_they_stand(client: openai.OpenAI):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": "Hi"}], functions=[{"name": "f", "parameters": BAD}])

    assert (caught.value.param, caught.value.code) == ("functions[0].parameters", "invalid_function_parameters")


def test_a_schema_that_can_be_honoured_is_kept_as_it_came(client: openai.OpenAI):
    made = client.beta.assistants.create(model="scripted", tools=[function(GOOD)], response_format=form(GOOD))

    assert made.tools[0].to_dict() == function(GOOD)
    assert made.response_format.to_dict()["json_schema"]["schema"] == GOOD  # type: ignore[union-attr]
