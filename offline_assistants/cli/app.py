"""All commands joined, and how each of them ends."""

from __future__ import annotations

import httpx
import typer
from pydantic import ValidationError

from offline_assistants import __version__
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
from offline_assistants.cli.vector_stores import vector_stores
from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.settings import Settings

CHAT_EXAMPLES = examples(
    "chat 'Why is the sky blue?'", "chat -f lease.pdf 'When does the lease end?'", "chat -c 'And when does it begin?'", "chat 'What went wrong?' < error.log"
)


def main() -> None:
    """Run the command line; an error of ours is one sentence and exit code 1, never a traceback."""
    try:
        build_app()()
    except OfflineAssistantsError as error:
        give_up(error.message)
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        give_up(f"The server of {Settings().data_dir} did not answer to the end ({reason}). See in its log whether it was stopped, then repeat the command.")
    except ValidationError as error:
        give_up("; ".join(f"--{'-'.join(str(part).replace('_', '-') for part in each['loc'])}: {each['msg']}" for each in error.errors()))


def build_app() -> typer.Typer:
    """The commands by their names."""
    app = typer.Typer(
        name="offline-assistants",
        help="The Assistants API on your own machine.",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    app.callback(invoke_without_command=True)(_root)
    app.command("serve")(serve_command())
    app.command("doctor", epilog=examples("doctor", "doctor --json", "doctor --quick || echo see above"))(of_server(examine))
    app.command(
        "chat",
        epilog=examples(
            "chat 'Why is the sky blue?'",
            "chat -f lease.pdf 'When does the lease end?'",
            "cat error.log | offline-assistants chat 'What went wrong?'",
            "chat -c 'And why?'",
        ),
    )(of_server(chat))
    app.command("ps", epilog=examples("ps", "ps --json"))(of_server(list_loaded))
    app.command("open")(of_server(open_page))
    app.command("import")(of_server(import_objects))
    app.command("export")(of_server(export_objects))
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
