"""The ASGI application: routes, one handler for failures, the guard in front."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from offline_assistants import __version__
from offline_assistants.api import (
    admin,
    assistants,
    chat_completions,
    completions,
    embeddings,
    faults,
    files,
    indexing_progress,
    messages,
    models,
    network,
    playground,
    runs,
    threads,
    uploads,
    vector_stores,
)
from offline_assistants.api.admin import Admin
from offline_assistants.api.azure import AzureAddresses
from offline_assistants.api.guard import Guard, Rules
from offline_assistants.api.openapi import describe
from offline_assistants.api.parts import Parts
from offline_assistants.outbound import OutboundAttempts

_ROUTES = (
    assistants,
    runs,
    messages,
    threads,
    files,
    uploads,
    vector_stores,
    indexing_progress,
    models,
    chat_completions,
    completions,
    embeddings,
    network,
    admin,
    playground,
)
ROUTERS = tuple(module.router for module in _ROUTES)


class Api(FastAPI):
    """FastAPI with a document of its own."""

    def openapi(self) -> dict[str, Any]:
        """What GET /openapi.json answers."""
        if not self.openapi_schema:
            self.openapi_schema = describe(title=self.title, version=self.version, routes=self.routes)
        return self.openapi_schema


def make_api() -> Api:
    """All routes, as yet without parts. The interactive documentation is off: its pages would load scripts from elsewhere."""
    app = Api(title="offline-assistants", version=__version__, docs_url=None, redoc_url=None)
    faults.install(app)
    for router in ROUTERS:
        app.include_router(router)
    return app


def build_api(parts: Parts, admin_parts: Admin, rules: Rules, outbound: OutboundAttempts) -> ASGIApp:
    """The API over `parts`."""
    app = make_api()
    app.state.parts = parts
    app.state.admin = admin_parts
    app.state.outbound = outbound
    return Guard(AzureAddresses(app), admin_parts.keys, rules)
