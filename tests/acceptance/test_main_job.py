"""The main job on real parts: a cited answer, code that makes files, a function call; each with other names, so that nothing can be known beforehand."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import openai
import pytest
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import Paragraph, SimpleDocTemplate

from tests.acceptance.conversation import MODEL, events_of_program, events_of_run, follow, newest, program_thread, search, text_of
from tests.acceptance.server_process import ServerProcess

pytestmark = [pytest.mark.model, pytest.mark.docker, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """Of a server that nobody else asks: the last bits of what is computed depend on what is in the cache already, and a small model's close calls on them."""
    server = ServerProcess(tmp_path_factory.mktemp("main_job"))
    try:
        with server.start().client() as sdk:
            yield sdk
        server.stop()
    finally:
        server.end()


# ── file_search ──────────────────────────────────────────────────────────────────────────────────────────────────────


def as_markdown(title: str, sections: dict[str, str]) -> bytes:
    return "\n\n".join([f"# {title}", *(f"## {heading}\n\n{text}" for heading, text in sections.items())]).encode()


def as_pdf(title: str, sections: dict[str, str]) -> bytes:
    buffer, styles = io.BytesIO(), getSampleStyleSheet()
    flow = [Paragraph(title, styles["Title"])]
    for heading, text in sections.items():
        flow += [Paragraph(heading, styles["Heading2"]), Paragraph(text, styles["Normal"])]
    SimpleDocTemplate(buffer).build(flow)
    return buffer.getvalue()


class Document(NamedTuple):
    name: str
    write: Callable[[str, dict[str, str]], bytes]
    title: str
    sections: dict[str, str]
    question: str
    answer: str


LIGHTHOUSE = Document(
    "lighthouse.pdf",
    as_pdf,
    "Gullstone Lighthouse: a guide",
    {
        "The tower": "The tower is 43 metres high and has 212 steps. It was painted red and white in 1931, so that ships see it by day.",
        "The lamp": "The lamp of the lighthouse was replaced in 1987. Its light is seen from 19 miles away.",
        "The keepers": "The last keeper left the lighthouse in 2003. Since then a computer switches the lamp on at dusk.",
    },
    "When was the lamp of the lighthouse replaced?",
    "1987",
)
MUSEUM = Document(
    "museum.md",
    as_markdown,
    "Harbour Museum",
    {
        "The house": "The museum was founded in 1902 by a ship's cook. It stands on the old quay, next to the fish market.",
        "The ships": "The largest ship in the museum is the Albatross. It was built in Bergen in 1874 and carried timber for forty years.",
        "Visits": "The museum is open from Tuesday to Sunday. A ticket costs 9 euros.",
    },
    "When was the museum founded?",
    "1902",
)


@pytest.mark.parametrize("document", [LIGHTHOUSE, MUSEUM], ids=lambda document: document.name)
def test_an_answer_streams_and_cites_words_that_are_in_the_document(client: openai.OpenAI, document: Document) -> None:
    content = document.write(document.title, document.sections)

    told, thread = search(client, name=document.name, content=content, question=document.question)

    text = text_of(newest(client, thread))
    assert told.ended.status == "completed"
    assert len(told.text) > 3
    assert "".join(told.text) == text.value
    assert document.answer in text.value
    assert text.annotations
    (store_id,) = thread.tool_resources.file_search.vector_store_ids
    for annotation in text.annotations:
        cited = annotation.file_citation
        canonical = "".join(part.text for part in client.vector_stores.files.content(cited.file_id, vector_store_id=store_id))
        assert cited.quote
        assert cited.quote in canonical
        assert text.value[annotation.start_index : annotation.end_index] == annotation.text


def test_the_query_is_the_model_s_and_its_passages_are_in_the_step(client: openai.OpenAI) -> None:
    content = LIGHTHOUSE.write(LIGHTHOUSE.title, LIGHTHOUSE.sections)

    told, _ = search(client, name=LIGHTHOUSE.name, content=content, question=LIGHTHOUSE.question)

    [call] = told.steps[0].step_details.tool_calls
    assert call.file_search.query
    assert [result.file_name for result in call.file_search.results] == [LIGHTHOUSE.name]


# ── code_interpreter ─────────────────────────────────────────────────────────────────────────────────────────────────


class Program(NamedTuple):
    table: str
    content: bytes
    question: str
    code: str
    made: str
    expected: bytes
    chart: str


HARVEST = Program(
    "harvest.csv",
    b"field,tonnes\nNorth,31\nEast,8\nWest,24\n",
    "Which fields gave most?",
    """import pandas as pd
import matplotlib.pyplot as plt
harvest = pd.read_csv("/mnt/data/harvest.csv")
best = harvest[harvest["tonnes"] > 20]
best.to_csv("/mnt/data/best.csv")
best.plot.bar(x="field", y="tonnes")
plt.savefig("/mnt/data/best.png")""",
    "best.csv",
    b",field,tonnes\n0,North,31\n2,West,24\n",
    "best.png",
)
PRICES = Program(
    "prices.csv",
    b"item,price\npen,1.5\nbook,12.0\n",
    "What are the doubled prices?",
    """import pandas as pd
import matplotlib.pyplot as plt
prices = pd.read_csv("/mnt/data/prices.csv")
prices["double"] = prices["price"] * 2
prices.to_csv("/mnt/data/double.csv", index=False)
prices.plot.bar(x="item", y="double")
plt.savefig("/mnt/data/double.png")""",
    "double.csv",
    b"item,price,double\npen,1.5,3.0\nbook,12.0,24.0\n",
    "double.png",
)


@pytest.mark.parametrize("program", [HARVEST, PRICES], ids=lambda program: program.table)
def test_a_program_reads_a_table_and_its_files_come_back(client: openai.OpenAI, program: Program) -> None:
    thread = program_thread(client, question=program.question, program=program.code, name=program.table, content=program.content)

    told = follow(events_of_program(client, thread))

    first = told.steps[0]
    [call] = first.step_details.tool_calls
    assert told.tool_inputs[first.id] == call.code_interpreter.input == program.code
    attachments = newest(client, thread).attachments or []
    made = {client.files.retrieve(each.file_id).filename: client.files.content(each.file_id).read() for each in attachments}
    assert made[program.made] == program.expected
    assert is_png(made[program.chart])
    assert told.ended.status == "completed"


def test_a_shown_picture_is_part_of_the_answer(client: openai.OpenAI) -> None:
    thread = program_thread(client, question=PRICES.question, program=PRICES.code, name=PRICES.table, content=PRICES.content)

    follow(events_of_program(client, thread))

    pictures = [part for part in newest(client, thread).content if part.type == "image_file"]
    assert pictures
    assert is_png(client.files.content(pictures[0].image_file.file_id).read())


def is_png(content: bytes) -> bool:
    """Whether it is a whole picture: its first bytes, its header, its last chunk."""
    return content[:8] == b"\x89PNG\r\n\x1a\n" and content[12:16] == b"IHDR" and content[-8:-4] == b"IEND" and len(content) > 1000


# ── functions ────────────────────────────────────────────────────────────────────────────────────────────────────────


class Function(NamedTuple):
    name: str
    parameters: dict[str, Any]
    example: str
    question: str
    output: str


WEATHER = Function(
    "get_weather",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
    'User: Is it raining in Oslo?\nAssistant: <tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>',
    "What is the weather in Lisbon?",
    "sunny, 24 degrees",
)
STOCK = Function(
    "count_stock",
    {
        "type": "object",
        "properties": {"item": {"type": "string", "maxLength": 40}, "shelf": {"type": "integer"}, "unit": {"type": "string", "enum": ["boxes", "pieces"]}},
        "required": ["item", "shelf", "unit"],
        "additionalProperties": False,
    },
    "User: How many boxes of nails are on shelf 2?\nAssistant: <tool_call>\n"
    '{"name": "count_stock", "arguments": {"item": "nails", "shelf": 2, "unit": "boxes"}}\n</tool_call>',
    "How many pieces of soap are on shelf 7?",
    "There are 318 pieces of soap.",
)


@pytest.mark.parametrize("function", [WEATHER, STOCK], ids=lambda function: function.name)
def test_a_function_is_called_with_valid_arguments_and_the_run_goes_on_with_its_output(client: openai.OpenAI, function: Function) -> None:
    tool = {"type": "function", "function": {"name": function.name, "description": "Looks it up.", "parameters": function.parameters}}
    instructions = f"You answer questions in one short sentence. You call {function.name} first. Example:\n\n{function.example}"
    thread = client.beta.threads.create(messages=[{"role": "user", "content": function.question}])

    choice = {"type": "function", "function": {"name": function.name}}
    told = follow(events_of_run(client, thread, instructions=instructions, tools=[tool], tool_choice=choice))

    calls = told.ended.required_action.submit_tool_outputs.tool_calls
    assert {call.function.name for call in calls} == {function.name}
    assert list(told.tool_inputs.values()) == ["".join(call.function.arguments for call in calls)]
    assert fits(json.loads(calls[0].function.arguments), function.parameters)
    while told.ended.status == "requires_action":  # a small model likes to ask twice
        outputs = [{"tool_call_id": call.id, "output": function.output} for call in told.ended.required_action.submit_tool_outputs.tool_calls]
        told = follow(client.beta.threads.runs.submit_tool_outputs(told.ended.id, thread_id=thread.id, tool_outputs=outputs, stream=True))
    assert told.ended.status == "completed"
    assert "".join(told.text) == text_of(newest(client, thread)).value
    assert told.text
    (step,) = (step for step in client.beta.threads.runs.steps.list(told.ended.id, thread_id=thread.id) if calls[0].id in step.model_dump_json())
    assert [call.function.output for call in step.step_details.tool_calls] == [function.output] * len(calls)


def fits(arguments: dict[str, Any], schema: dict[str, Any]) -> bool:
    """Whether the arguments are as the schema wants them, as far as the schemas above go."""
    kinds = {"string": str, "integer": int}
    properties = schema["properties"]
    return set(schema["required"]) <= set(arguments) <= set(properties) and all(
        isinstance(value, kinds[properties[name]["type"]]) and value in properties[name].get("enum", [value]) for name, value in arguments.items()
    )


def test_the_model_of_the_tests_is_the_starter_model(client: openai.OpenAI) -> None:
    assert MODEL in {model.id for model in client.models.list()}
