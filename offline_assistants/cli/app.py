"""All commands joined, and how each of them ends."""

from __future__ import annotations

import os
import signal

import httpx
import typer
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from offline_assistants import __version__
from offline_assistants.cli.bench import measure_model
from offline_assistants.cli.chat import chat
from offline_assistants.cli.doctor import examine
from offline_assistants.cli.keys import keys
from offline_assistants.cli.models import models
from offline_assistants.cli.objects import add_object_commands, assistants, files, threads
from offline_assistants.cli.processes import list_loaded, open_page
from offline_assistants.cli.sandbox import sandbox
from offline_assistants.cli.serve import serve_command
from offline_assistants.cli.terminal import console, examples, give_up, of_server
from offline_assistants.cli.transfers import export_objects, import_objects
from offline_assistants.cli.tuning import TUNE_EXAMPLES, tune_model
from offline_assistants.cli.vector_stores import vector_stores
from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.settings import Settings

PREFIX = str(Settings.model_config.get("env_prefix", ""))
EXAMPLES = ("serve", "chat -f lease.pdf 'When does the lease end?'", "models list", "doctor")
EXIT_CODES = "Exit codes: 0 done, 1 not done, or only in part (stderr says why), 2 not understood, 3 doctor: with remarks, 130 interrupted."


def main() -> None:
    """Run the command line; an error of ours is one sentence and exit code 1, never a traceback."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whichever way a command is stopped, it tidies up
    try:
        build_app()(prog_name="offline-assistants")
    except OfflineAssistantsError as error:
        give_up(error.message)
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        give_up(f"The server of {Settings().data_dir} did not answer to the end ({reason}). See in its log whether it was stopped, then repeat the command.")
    except OSError as error:  # of this machine's files: whatever could be made clearer was
        give_up(f"{error.filename or 'A file'} cannot be used: {error.strerror or error}.")
    except ValidationError as error:
        give_up("; ".join(f"{_named(each)}: {each['msg']}" for each in error.errors()))
    except SettingsError as error:  # a list that is no JSON
        give_up(f'{_variable_of(error)} cannot be read: it has to be JSON, such as \'["a", "b"]\'.')


def _named(error: ErrorDetails) -> str:
    """A setting, as whoever set it to a wrong value called it."""
    name = "_".join(str(part) for part in error["loc"])
    variable = f"{PREFIX}{name.upper()}"
    return variable if os.environ.get(variable) == error["input"] else f"--{name.replace('_', '-')}"


def _variable_of(error: SettingsError) -> str:
    found = next((name for name in Settings.model_fields if f'"{name}"' in str(error)), None)
    return f"{PREFIX}{found.upper()}" if found else str(error)


def build_app() -> typer.Typer:
    """The commands by their names."""
    app = typer.Typer(
        name="offline-assistants",
        help="The Assistants API on your own machine.",
        epilog=f"{examples(*EXAMPLES)}\n\n{EXIT_CODES}",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    app.callback(invoke_without_command=True)(_root)
    app.command("serve", epilog=examples("serve", "serve --port 9000 --data-dir ~/assistants", "serve --default-model qwen3-4b"))(serve_command())
    models.command("tune", epilog=TUNE_EXAMPLES)(of_server(tune_model))
    app.command("doctor", epilog=examples("doctor", "doctor --json", "doctor --quick || echo see above"))(of_server(examine))
    app.command(
        "chat",
        epilog=examples(
            "chat 'Why is the sky blue?'",
            "chat -f lease.pdf 'When does the lease end?'",
            "chat 'What went wrong?' < error.log",
            "chat -c 'And why?'",
            "chat -m qwen3-4b -s 'Answer in French.'",
        ),
    )(of_server(chat))
    app.command("ps", epilog=examples("ps", "ps --json"))(of_server(list_loaded))
    app.command("bench", epilog=examples("bench", "bench -m qwen3-4b", "bench --json"))(of_server(measure_model))
    app.command("open", epilog=examples("open"))(of_server(open_page))
    app.command("import", epilog=examples("import backup.jsonl", "import threads.json --project team-a"))(of_server(import_objects))
    app.command("export", epilog=examples("export backup.jsonl", "export --project team-a --format parquet team-a"))(of_server(export_objects))
    add_object_commands()
    for name, commands in (
        ("models", models),
        ("assistants", assistants),
        ("threads", threads),
        ("files", files),
        ("vector-stores", vector_stores),
        ("keys", keys),
        ("sandbox", sandbox),
    ):
        app.add_typer(commands, name=name)
    return app


def _root(*, version: bool = typer.Option(False, "--version", help="Show the version and exit.")) -> None:
    if version:
        console.print(f"offline-assistants {__version__}", highlight=False)
        raise typer.Exit
