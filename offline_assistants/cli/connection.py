"""How a command reaches the server of the data directory."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from offline_assistants.errors import OfflineAssistantsError
from offline_assistants.settings import Settings
from offline_assistants.transfer import reason_of


async def ask(method: str, path: str, sent: dict[str, Any] | None = None) -> dict[str, Any]:
    async with client_of_server() as client:
        return answered(await client.request(method, path, json=sent))


def answered(response: httpx.Response) -> dict[str, Any]:
    """What the server says. Raises OfflineAssistantsError when it refused, or did not speak JSON."""
    if response.is_error:
        raise OfflineAssistantsError(reason_of(response))
    try:
        return response.json()
    except ValueError as error:
        raise OfflineAssistantsError(reason_of(response)) from error


def running_server() -> bool:
    """Whether a server of the data directory runs."""
    with socket.socket(socket.AF_UNIX) as asking:
        try:
            asking.connect(str(Settings().admin_socket))
        except OSError:
            return False
        return True


@asynccontextmanager
async def client_of_server(*, is_working: bool = False) -> AsyncGenerator[httpx.AsyncClient]:
    """Speaks to the server of the data directory; when none runs, to one that lives as long as the command.

    `is_working`: which also carries out runs and indexes files.
    """
    settings = Settings()
    running = httpx.AsyncHTTPTransport(uds=str(settings.admin_socket))
    async with httpx.AsyncClient(transport=running, base_url="http://localhost", timeout=60) as client:
        try:
            await client.get("/v1/models")
        except httpx.ConnectError:
            pass
        else:
            yield client
            return
    # The whole server comes with it, which takes a second or two: only who needs it waits.
    from offline_assistants.server import served_for_a_command

    async with (
        served_for_a_command(settings, is_working=is_working),
        httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(settings.admin_socket)), base_url="http://localhost", timeout=60) as client,
    ):
        yield client


async def listed(client: httpx.AsyncClient, path: str, **query: str) -> AsyncGenerator[dict[str, Any]]:
    """Every object of a list, page by page."""
    asked: dict[str, str | int] = {"limit": 100, "order": "asc", **query}
    page = answered(await client.get(path, params=asked))
    while True:
        for each in page["data"]:
            yield each
        if not page["has_more"]:
            return
        page = answered(await client.get(path, params={**asked, "after": page["last_id"]}))


async def default_model(client: httpx.AsyncClient) -> str:
    """The model that answers where none is named. Raises OfflineAssistantsError when there is none."""
    hosted = await client.get("/v1/models/gpt-4o")
    if hosted.is_success:
        return "gpt-4o"
    named = Settings().default_model
    usable = [each["id"] for each in answered(await client.get("/v1/models"))["data"] if each["kind"] == "chat" and each["state"] != "damaged"]
    if not usable:
        answered(hosted)
    return named or usable[0]
