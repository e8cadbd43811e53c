"""`serve`: the server, with an option for every setting."""

from __future__ import annotations

import asyncio
import inspect
import logging
from pathlib import Path
from typing import Any, Optional, cast

import typer

from offline_assistants.settings import Settings


def _serve(**options: Any) -> None:
    """Start the server. It is reachable from this machine only, unless --host says otherwise.

    Every option can also be set by an environment variable: --data-dir is OFFLINE_ASSISTANTS_DATA_DIR.
    """
    # The whole server comes with it; --help shall not wait for it.
    from offline_assistants.server import serve_until_stopped

    settings = Settings(**{name: value for name, value in options.items() if value not in (None, [])})
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asyncio.run(serve_until_stopped(settings))


def serve_command() -> Any:
    """`_serve` with the signature that typer reads its options from."""
    parameters = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=typer.Option(None, help=_help_of(name), show_default=False), annotation=_option_type(field.annotation)
        )
        for name, field in Settings.model_fields.items()
    ]
    _serve.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    _serve.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return _serve


def _option_type(annotation: Any) -> Any:
    for kind in (bool, int, float, Path):
        if annotation is kind or annotation == kind | None:
            return Optional[kind]  # noqa: UP045 typer reads this form
    return list[str] if annotation == list[str] else Optional[str]  # noqa: UP045


def _help_of(name: str) -> str:
    field = Settings.model_fields[name]
    value: Any = field.default
    default = "" if field.default_factory or value in (None, []) else f" Default: {_shown(value)}."
    return f"{field.description}{default}"


def _shown(value: Any) -> str:
    return ", ".join(cast("list[str]", value)) if isinstance(value, list) else str(value)
