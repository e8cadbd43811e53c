"""What the routes are given: the parts of the server, and the shapes that lists share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from fastapi import Depends, Request

from offline_assistants.domain.ids import Clock, Ids
from offline_assistants.domain.model_aliases import ModelAliases
from offline_assistants.domain.objects import ApiObject, FunctionDefinition, FunctionTool, JsonSchemaFormat, Tool
from offline_assistants.engine.schema_check import SchemaCheck
from offline_assistants.errors import ModelNotFound
from offline_assistants.expiry import Expiry
from offline_assistants.ingestion import Ingestion
from offline_assistants.ports import Documents, Engines, ModelInfo, Sandbox
from offline_assistants.runs.search import FileSearch
from offline_assistants.runs.supervisor import Supervisor
from offline_assistants.store.blobs import BlobStore
from offline_assistants.store.project_store import ProjectStore
from offline_assistants.uploads import Uploads


@dataclass(frozen=True, slots=True)
class Parts:
    """Made and joined by `bootstrap`; a route gets them as the caller's project sees them.

    Whatever a route looks up, refers to or changes goes through `store`, also inside other parts: planning and committing take `parts.store`. So a route
    needs no thought of projects: an object of another project is not found, with the words for an object that does not exist.
    """

    store: ProjectStore
    """The caller's project. There is no other way to the store from here."""
    blobs: BlobStore
    engines: Engines
    documents: Documents
    aliases: ModelAliases
    schemas: SchemaCheck
    sandbox: Sandbox
    ingestion: Ingestion
    uploads: Uploads
    expiry: Expiry
    search: FileSearch
    supervisor: Supervisor
    ids: Ids
    now: Clock
    run_expires_after_s: int
    max_file_bytes: int
    heartbeat_s: float
    max_answer_tokens: int
    attaching: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while attachments are turned into files of a thread, so that two messages at once do not make two vector stores for it."""

    def of(self, project: str) -> Parts:
        """The same parts as another project sees them."""
        return replace(self, store=self.store.of(project))

    async def check_model(self, model: str) -> ModelInfo:
        """What answers to this name. Raises ModelNotFound, naming the models there are."""
        return await self.engines.find(model)

    async def check_schemas(self, functions: Mapping[str, FunctionDefinition], response_format: object) -> None:
        """Raises RequestError for a schema that no answer could be held to. `functions`: by where their parameters stand in the request."""
        for param, function in functions.items():
            await self.schemas.check_function(function.name, function.parameters, param=param)
        if isinstance(response_format, JsonSchemaFormat):
            await self.schemas.check_answer(response_format.json_schema.name, response_format.json_schema.json_schema)

    async def find_embedder(self, model: str) -> ModelInfo:
        """The embedding model that answers to this name. Raises ModelNotFound, naming the one there is."""
        known, alias = await self.documents.list_models(), self.aliases.find(model)
        wanted = alias.target if alias and alias.is_for_embeddings else model
        for each in known:
            if wanted in (None, each.model_id):
                return each
        raise ModelNotFound.named(model, [each.model_id for each in known])


def functions_of(tools: Iterable[Tool]) -> dict[str, FunctionDefinition]:
    """The functions among the tools of an assistant or run, by where their parameters stand."""
    return {f"tools[{number}].function.parameters": tool.function for number, tool in enumerate(tools) if isinstance(tool, FunctionTool)}


def _parts(request: Request) -> Parts:
    """The guard has said whose request this is; without a word from it there is no project and no answer."""
    return request.app.state.parts.of(request.state.project)


PartsDep = Annotated[Parts, Depends(_parts)]


def metadata_filter(request: Request) -> dict[str, str]:
    """`metadata[key]=value` of a query, once or more, as the SDK writes it: what `list_page` takes as `where`."""
    asked = request.query_params.items()
    return {f"metadata.{name[9:-1]}": value for name, value in asked if name.startswith("metadata[") and name.endswith("]")}


def page_of(objects: Sequence[ApiObject], *, has_more: bool) -> dict[str, Any]:
    """A page of a list, as it goes over the wire."""
    return page_of_wires([each.wire() for each in objects], has_more=has_more)


def page_of_wires(wires: list[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """The same for objects that are JSON already. An empty page has null ids."""
    return {
        "object": "list",
        "data": wires,
        "first_id": wires[0]["id"] if wires else None,
        "last_id": wires[-1]["id"] if wires else None,
        "has_more": has_more,
    }


def deleted(object_id: str, kind: str) -> dict[str, Any]:
    return {"id": object_id, "object": kind, "deleted": True}
