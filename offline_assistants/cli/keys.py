"""`keys`: what clients show to be let in."""

from __future__ import annotations

import asyncio
from typing import Optional
from urllib.parse import quote

import typer

from offline_assistants.cli.connection import ask
from offline_assistants.cli.terminal import AsJson, date, examples, of_server, remark, say, show_json, show_table

keys = typer.Typer(
    help="The keys that clients show. Required where other machines can reach the server.",
    epilog=examples("keys create --project team-a --name laptop", "keys list"),
    no_args_is_help=True,
)


@keys.command("create", epilog=examples("keys create", "keys create --project team-a --name laptop"))
@of_server
def create_key(
    *,
    project: str = typer.Option("default", help="The project whose objects the key gives access to; made by its first key."),
    name: Optional[str] = typer.Option(None, help="What you call the key."),  # noqa: UP045 typer reads this form
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown now and never again."""
    made = asyncio.run(ask("POST", "/admin/keys", {"project": project, "name": name}))
    if as_json:
        show_json(made)
        return
    say(made["key"])
    remark(f"Key {made['id']} of project {made['project']}. Keep it: it is not shown again.")


@keys.command("list", epilog=examples("keys list", "keys list --json"))
@of_server
def list_keys(*, as_json: AsJson = False) -> None:
    """Show which keys there are, not their texts."""
    found = asyncio.run(ask("GET", "/admin/keys"))["data"]
    if as_json:
        show_json(found)
        return
    if not found:
        say("No keys. Make one: offline-assistants keys create")
        return
    rows = ([key["id"], key["hint"], key["project"], key["name"] or "", date(key["created_at"]), date(key["last_used_at"])] for key in found)
    show_table(("id", "key", "project", "name", "created", "last used"), rows)


@keys.command("revoke", epilog=examples("keys revoke key_abc"))
@of_server
def revoke_key(key_id: str = typer.Argument(help="As `keys list` shows it.")) -> None:
    """Forget a key; what its project holds stays. Without --require-keys it then means, as any unknown key on loopback, the project default."""
    asyncio.run(ask("DELETE", f"/admin/keys/{quote(key_id, safe='')}"))
    say(f"Revoked {key_id}.")
