"""`models`: the GGUF files on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Optional
from urllib.parse import quote

import typer

from offline_assistants.catalog import Catalog
from offline_assistants.cli.connection import ask
from offline_assistants.cli.terminal import AsJson, complain, examples, of_server, progress, say, show_json, show_table, size
from offline_assistants.domain.models import CHAT_FORMAT_KEY, ModelFile
from offline_assistants.engine.tunings import Tunings
from offline_assistants.errors import ModelNotFound, OfflineAssistantsError
from offline_assistants.gguf import read_gguf
from offline_assistants.machine import free_memory
from offline_assistants.model_import import Digests, bring_in, find_incoming, sha256_of
from offline_assistants.settings import Settings

models = typer.Typer(
    help="The models on this machine.",
    epilog=examples("models list", "models import ~/.ollama/models", "models show gpt-4o"),
    no_args_is_help=True,
)
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="As `models list` shows it.")]


@models.command("list", epilog=examples("models list", "models list --json | jq -r '.[].id'"))
@of_server
def list_models(*, as_json: AsJson = False) -> None:
    """Show the models that a request may name, and what is wrong with those that cannot answer."""
    found = asyncio.run(ask("GET", "/v1/models"))["data"]
    if as_json:
        show_json(found)
        return
    if not found:
        say(f"No models. Put a GGUF file into {Settings().models_path}")
        return
    show_table(("model", "kind", "size", "format", "context", "memory", "state"), map(_row, found))
    for model in found:
        if model["problem"]:
            say(f"{model['id']}: {model['problem']}")


def _row(model: dict[str, Any]) -> list[str]:
    memory = size(model["memory_bytes"]) if model["memory_bytes"] else ""
    return [model["id"], model["kind"], size(model["size_bytes"]), model["quantization"] or "", str(model["context_tokens"] or ""), memory, model["state"]]


@models.command("show", epilog=examples("models show smollm2-135m-instruct"))
@of_server
def show_model(model: ModelName, *, as_json: AsJson = False) -> None:
    """Show what is known of a model, also by a name that stands for it, such as gpt-4o."""
    wire = asyncio.run(ask("GET", f"/v1/models/{quote(model, safe='')}"))
    files = Tunings(Settings().tunings_path).apply(installed_catalog().list_files())
    file = next((each for each in files if wire["x_model_file"] in (each.path.name, each.loaded_path.name)), None)
    described = {**wire, **(_details(file) if file else {})}
    if as_json:
        show_json(described)
        return
    for name, value in described.items():
        if value not in (None, "") and name not in ("object", "owned_by", "created"):
            say(f"{name.replace('_', ' '):20} {_shown(name, value)}")


def _details(file: ModelFile) -> dict[str, Any]:
    # The whole server comes with it; --help shall not wait for it.
    from offline_assistants.bootstrap import engine_options
    from offline_assistants.engine.fit import need_of
    from offline_assistants.engine.llama_engine import options_for

    found: dict[str, Any] = {"path": str(file.path), "trained_context_tokens": file.context_tokens, "has_chat_template": file.template is not None}
    options = options_for(file, engine_options(Settings()))
    adapters = [adapter.path for adapter in options.lora_adapters]
    found |= _family(file, [*adapters, file.loaded_path])
    if adapters:
        found["adapters"] = ", ".join(map(str, adapters))
    if file.tuned is not None:
        found |= {"tuned_decode_threads": file.tuned.decode_threads, "tuned_prefill_threads": file.tuned.prefill_threads}
        found |= {"tuned_copy": str(file.tuned.copy)} if file.tuned.copy else {}
    need = need_of(file, options)
    if need is not None:
        found |= {"weights_bytes": need.weights, "context_bytes": need.context, "buffers_bytes": need.buffers, "free_memory_bytes": free_memory()}
    return found


def _family(file: ModelFile, loaded: Sequence[Path]) -> dict[str, Any]:
    """How it is spoken to, and why so; `loaded`: its adapters, and what it is loaded from."""
    from offline_assistants.engine.chat_formats.choice import describe

    try:
        family, reason = describe(file.template, trained_on=next(filter(None, map(_trained_on, loaded)), None))
    except (ValueError, OfflineAssistantsError) as error:
        return {"template_problem": str(error)}
    return {"template_family": family, "template_family_reason": reason}


def _trained_on(path: Path) -> str | None:
    try:
        found = read_gguf(path).header.get(CHAT_FORMAT_KEY)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, str) else None


def _shown(name: str, value: Any) -> str:
    return size(value) if name.endswith("_bytes") else {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


@models.command(
    "import",
    epilog=examples(
        "models import ~/Downloads/Qwen3-4B-Q4_K_M.gguf --name qwen3-4b", "models import ~/.ollama/models", "models import --copy /media/usb/x.gguf"
    ),
)
@of_server
def import_models(
    path: Annotated[Path, typer.Argument(help="A GGUF file, a folder with some (LM Studio's), or Ollama's folder of models.")],
    *,
    name: Annotated[Optional[str], typer.Option(help="What the model is called. Default: as its file.")] = None,  # noqa: UP045 typer reads this form
    copy: Annotated[bool, typer.Option("--copy", help="Copy the file. Default: link to it, which takes no room.")] = False,
    sha256: Annotated[Optional[str], typer.Option(help="What the file must hash to.")] = None,  # noqa: UP045 typer reads this form
) -> None:
    """Bring models into the models folder: by a link, so that nothing is copied, or with --copy."""
    settings, incoming = Settings(), find_incoming(path.expanduser(), name=name)
    if sha256 is not None:
        _compare(incoming[0].source, sha256, _hash(incoming[0].source))
    for each in incoming:
        with progress(f"copying {each.name}", each.source.stat().st_size if copy else 0) as advance:
            target = bring_in(each, settings.models_path, is_copied=copy, advance=advance)
        if sha256 is not None:
            _digests().keep(target, sha256.lower())
        else:
            _digests().forget(target)
        say(f"{target.stem}: {'copied' if copy else 'linked'}")


@models.command("verify", epilog=examples("models verify", "models verify qwen3-4b --sha256 6b1c..."))
@of_server
def verify_models(
    model: Annotated[Optional[str], typer.Argument(metavar="[MODEL]", help="Default: all.")] = None,  # noqa: UP045 typer reads this form
    *,
    sha256: Annotated[Optional[str], typer.Option(help="What the file must hash to; with a MODEL.")] = None,  # noqa: UP045 typer reads this form
    as_json: AsJson = False,
) -> None:
    """Hash the files anew: packaged ones must be what the catalog names, yours what they were when they were first verified.

    A file that was verified is also checked before it is loaded. Exit code 1 when one is not what it should be.
    """
    if sha256 is not None and model is None:
        raise OfflineAssistantsError("--sha256 is for one model: name it.")
    catalog = installed_catalog()
    packaged = {name: problem for name, problem in catalog.verify_packaged().items() if model in (None, name.partition(" ")[0])}
    is_file = sha256 is not None or model not in packaged
    rows = [_verify(file, sha256) for file in ([find_model(model)] if model and is_file else [] if model else catalog.list_files())]
    rows += [{"id": name, "state": problem or "ok", "sha256": ""} for name, problem in packaged.items()]
    if as_json:
        show_json(rows)
    else:
        show_table(("model", "state", "sha256"), ([row["id"], row["state"], row["sha256"]] for row in rows))
    wrong = [row for row in rows if row["state"] not in ("ok", "remembered")]
    for row in wrong:
        complain(f"{row['id']}: {row['state']}")
    if wrong:
        raise SystemExit(1)


def _verify(file: ModelFile, sha256: str | None) -> dict[str, str]:
    if file.problem is not None:
        return {"id": file.model_id, "state": file.problem, "sha256": ""}
    found, digests = _hash(file.path), _digests()
    expected = sha256 or file.sha256 or digests.get(file.path)
    if expected is None or (sha256 is not None and found == sha256.lower()):
        digests.keep(file.path, found)
    if expected is None:
        return {"id": file.model_id, "state": "remembered", "sha256": found}
    return {"id": file.model_id, "state": "ok" if found == expected.lower() else f"changed: it was {expected}", "sha256": found}


@models.command("rm", epilog=examples("models rm qwen3-4b", "models rm qwen3-4b --yes"))
@of_server
def remove_model(model: ModelName, *, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Delete a model's files. Of a link only the link goes; nothing outside the models folder is deleted."""
    file = find_model(model)
    if not yes:
        typer.confirm(f"Delete {file.path}{' (a link; what it leads to stays)' if file.path.is_symlink() else ''}?", abort=True)
    asyncio.run(ask("DELETE", f"/v1/models/{quote(model, safe='')}"))
    _digests().forget(file.path)
    say(f"Deleted {model}.")


@models.command("unload", epilog=examples("models unload qwen3-4b"))
@of_server
def unload_model(model: ModelName) -> None:
    """Take a model out of memory; the next request loads it again."""
    asyncio.run(ask("POST", "/admin/models/unload", {"model": model}))
    say(f"Unloaded {model}.")


def _hash(path: Path) -> str:
    with progress(f"hashing {path.name}", path.stat().st_size) as advance:
        return sha256_of(path, advance)


def _compare(path: Path, expected: str, found: str) -> None:
    if found != expected.lower():
        raise OfflineAssistantsError(f"{path} is not the file that was meant: its sha256 is {found}, not {expected}.")


def find_model(model: str) -> ModelFile:
    """The file of a model. Raises ModelNotFound."""
    files = installed_catalog().list_files()
    for file in files:
        if file.model_id == model:
            return file
    raise ModelNotFound.named(model, [file.model_id for file in files])


def installed_catalog() -> Catalog:
    """The models as a server with these settings has them."""
    settings = Settings()
    return Catalog(settings.models_path, wants_adapter=settings.wants_packaged_adapter)


def _digests() -> Digests:
    return Digests(Settings().digests_path)
