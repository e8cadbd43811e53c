"""The main job in three parts, with the plain openai SDK: a cited answer, code that makes files, a function call. All of it streams.

The starter model has 135 million parameters. It is steered here, in the open: `tool_choice` names the tool, the instructions hold one example, and the
program that it runs stands in the message. What goes into the tools is decoded by the model; a larger model needs none of this.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import openai
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

console = Console(highlight=False)

HANDBOOK = """# Brightwater Observatory: visitor handbook

## Opening hours

The observatory is open to visitors from Wednesday to Sunday. The gates open at 14:00 and close at 22:30.
On nights with a meteor shower the gates stay open until 02:00.

## The telescope

The main telescope has a mirror of 1.8 metres. It was built in 1974 and stands under a copper dome.
Visitors may look through it after sunset, when the sky is clear.

## Tickets

A ticket costs 12 euros for adults and 5 euros for children. Members of the friends' association enter free of charge.
Tickets are sold at the gate, not on the internet.
"""

SEARCH_INSTRUCTIONS = """You answer questions about the user's documents in one short sentence. You search first. Example:

User: When do the gates open?
Assistant: <tool_call>
{"name": "file_search", "arguments": {"query": "opening time of the gates"}}
</tool_call>"""

TREES = "kind,height\noak,21.5\nbirch,17.0\noak,24.5\nbirch,15.0\nlarch,30.0\n"

PROGRAM = """import pandas as pd
import matplotlib.pyplot as plt
trees = pd.read_csv("/mnt/data/trees.csv")
mean = trees.groupby("kind")["height"].mean()
mean.to_csv("/mnt/data/mean.csv")
mean.plot.bar()
plt.savefig("/mnt/data/chart.png")
print(mean)"""

CODE_INSTRUCTIONS = """You run the user's Python programs exactly as they are, then you answer in one short sentence. Example:

User: What is the sum?

Run this program:
```python
a = 2
b = 3
print("Sum:", a + b)
```
Assistant: <tool_call>
```python
a = 2
b = 3
print("Sum:", a + b)
```
</tool_call>"""

WEATHER_INSTRUCTIONS = """You answer questions about the weather in one short sentence. You call get_weather first. Example:

User: Is it raining in Oslo?
Assistant: <tool_call>
{"name": "get_weather", "arguments": {"city": "Oslo"}}
</tool_call>"""

GET_WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city right now.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
    },
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo.py", description="The main job, shown on a server that runs.")
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="where the files that the code makes are saved")
    arguments = parser.parse_args()
    # The SDK says of every call that the hosted API it was made for is gone. That is why this server exists.
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    with openai.OpenAI(base_url=arguments.base_url, api_key="not-needed", timeout=300, max_retries=0) as client:
        demo = Demo(client, arguments.out)
        parts = {"a cited answer": demo.cited_answer, "code that makes files": demo.code_with_files, "a function call": demo.function_call}
        failed = [name for name, part in parts.items() if not happened(name, part)]
    console.print(Rule())
    console.print(f"[red]Did not happen: {', '.join(failed)}.[/]" if failed else "[green]All three happened, on this machine alone.[/]")
    return 1 if failed else 0


def happened(name: str, part: Callable[[], None]) -> bool:
    """Once more if it went astray: the starter model is small, and its steps differ a little with what is in its cache."""
    console.print(Rule(name))
    for more in ("once more, in a new thread", "given up"):
        try:
            part()
        except (DidNotHappenError, openai.OpenAIError) as error:
            console.print(Text(f"{name}: {error}; {more}", style="red"))
        else:
            return True
    return False


class DidNotHappenError(Exception):
    """A part of the demo went another way than it should."""


def check(is_true: object, what: str) -> None:
    if not is_true:
        raise DidNotHappenError(what)


class Demo:
    def __init__(self, client: openai.OpenAI, out: Path) -> None:
        self.client = client
        self.out = out
        self.model = client.models.list().data[0].id

    def cited_answer(self) -> None:
        """Upload a document, ask about it, and check that the quote is really in it."""
        store = self.client.vector_stores.create(name="handbook")
        with console.status("indexing handbook.md; the first time loads the embedding model"):
            indexed = self.client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=("handbook.md", HANDBOOK.encode()))
        check(indexed.status == "completed", f"the file is {indexed.status}: {indexed.last_error}")
        assistant = self.client.beta.assistants.create(
            model=self.model, instructions=SEARCH_INSTRUCTIONS, temperature=0, tools=[{"type": "file_search", "file_search": {"max_num_results": 3}}]
        )
        thread = self.client.beta.threads.create(
            messages=[{"role": "user", "content": "When was the main telescope built?"}],
            tool_resources={"file_search": {"vector_store_ids": [store.id]}},
        )
        self.ask(thread.id, assistant.id, {"type": "file_search"})
        text = self.newest(thread.id).content[0].text
        check(text.annotations, "the answer has no citation")
        for annotation in text.annotations:
            quote = annotation.file_citation.quote
            check(quote and quote in HANDBOOK, f"the quote is not in the document: {quote!r}")
            check(text.value[annotation.start_index : annotation.end_index] == annotation.text, "the annotation does not point at its marker")
            console.print(Text(f'  {annotation.text}  handbook.md: "{quote}"', style="cyan"))
        check("1974" in text.value, f"the answer is wrong: {text.value!r}")

    def code_with_files(self) -> None:
        """Run a program on an uploaded csv, and save what it makes."""
        file = self.client.files.create(file=("trees.csv", TREES.encode()), purpose="assistants")
        assistant = self.client.beta.assistants.create(model=self.model, instructions=CODE_INSTRUCTIONS, temperature=0, tools=[{"type": "code_interpreter"}])
        thread = self.client.beta.threads.create(
            messages=[
                {
                    "role": "user",
                    "content": f"What is the mean height of the oaks in metres?\n\nRun this program:\n```python\n{PROGRAM}\n```",
                    "attachments": [{"file_id": file.id, "tools": [{"type": "code_interpreter"}]}],
                }
            ]
        )
        self.ask(thread.id, assistant.id, {"type": "code_interpreter"})
        made = {f.filename: f.id for f in (self.client.files.retrieve(a.file_id) for a in self.newest(thread.id).attachments or [])}
        check({"mean.csv", "chart.png"} <= set(made), f"the files did not come back, only {sorted(made)}")
        table, chart = (self.save(name, made[name]) for name in ("mean.csv", "chart.png"))
        check(table == b"kind,height\nbirch,16.0\nlarch,30.0\noak,23.0\n", f"mean.csv holds {table!r}")
        check(chart.startswith(b"\x89PNG\r\n\x1a\n") and len(chart) > 1000, "chart.png is no picture")

    def function_call(self) -> None:
        """The model calls, this program answers, the model goes on."""
        assistant = self.client.beta.assistants.create(model=self.model, instructions=WEATHER_INSTRUCTIONS, temperature=0, tools=[GET_WEATHER])
        thread = self.client.beta.threads.create(messages=[{"role": "user", "content": "What is the weather in Lisbon?"}])
        run = self.ask(thread.id, assistant.id, {"type": "function", "function": {"name": "get_weather"}})
        check(run.status == "requires_action", f"the run is {run.status}")
        calls = run.required_action.submit_tool_outputs.tool_calls
        check([json.loads(call.function.arguments) for call in calls] == [{"city": "Lisbon"}], f"it called {calls}")
        outputs = [{"tool_call_id": call.id, "output": "sunny, 24 degrees"} for call in calls]
        console.print(Text("  our program answers: sunny, 24 degrees", style="cyan"))
        done = self.show(self.client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=outputs, stream=True))
        check(done.status == "completed", f"the run is {done.status}: {done.last_error}")
        answer = self.newest(thread.id).content[0].text.value
        check("sunny" in answer.lower() or "24" in answer, f"the answer is wrong: {answer!r}")

    def ask(self, thread_id: str, assistant_id: str, tool_choice: Any) -> Any:
        for message in self.client.beta.threads.messages.list(thread_id, limit=1):
            console.print(Text(f"user: {message.content[0].text.value}", style="bold"))
        run = self.show(
            self.client.beta.threads.runs.create(
                thread_id=thread_id, assistant_id=assistant_id, tool_choice=tool_choice, max_completion_tokens=512, stream=True
            )
        )
        check(run.status in ("completed", "requires_action"), f"the run is {run.status}: {run.last_error or run.incomplete_details}")
        return run

    def show(self, events: Iterable[Any]) -> Any:
        """Print a run while it streams. The run as it was announced last."""
        run, num_deltas = None, 0
        for event in events:
            match event.event.split("."):
                case ["thread", "message", "delta"]:
                    num_deltas += 1
                    for part in event.data.delta.content:
                        console.print(Text(part.text.value if part.type == "text" else f"[picture {part.image_file.file_id}]\n"), end="")
                case ["thread", "message", "completed"]:
                    console.print()
                case ["thread", "run", "step", "delta"]:
                    num_deltas += 1
                case ["thread", "run", "step", "completed"] if event.data.type == "tool_calls":
                    for call in event.data.step_details.tool_calls:
                        console.print(Text(described(call), style="yellow"))
                case ["thread", "run", _]:
                    run = event.data
                case _:
                    pass
        check(run is not None and num_deltas, "nothing was streamed")
        if run.status == "requires_action":
            for call in run.required_action.submit_tool_outputs.tool_calls:
                console.print(Text(f"  {call.function.name}({call.function.arguments})", style="yellow"))
        return run

    def newest(self, thread_id: str) -> Any:
        message = self.client.beta.threads.messages.list(thread_id, limit=1).data[0]
        check(message.role == "assistant", "there is no answer")
        return message

    def save(self, name: str, file_id: str) -> bytes:
        content = self.client.files.content(file_id).read()
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / name).write_bytes(content)
        console.print(Text(f"  saved {self.out / name} ({len(content):,} bytes)", style="cyan"))
        return content


def described(call: Any) -> str:
    """A tool call of a step, in a few lines."""
    match call.type:
        case "file_search":
            found = ", ".join(f"{result.file_name} ({result.score:.2f})" for result in call.file_search.results)
            return f'  file_search "{call.file_search.query}" found {found or "nothing"}'
        case "code_interpreter":
            lines = ["  code_interpreter", *(f"    {line}" for line in call.code_interpreter.input.splitlines())]
            for output in call.code_interpreter.outputs:
                shown = output.logs.splitlines() if output.type == "logs" else [f"[picture {output.image.file_id}]"]
                lines += [f"    > {line}" for line in shown]
            return "\n".join(lines)
        case _:
            return f"  {call.function.name} gave {call.function.output}"


if __name__ == "__main__":
    sys.exit(main())
