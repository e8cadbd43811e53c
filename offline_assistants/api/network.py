"""/v1/network_attempts, an extension: what in the server tried to reach another machine. The page's badge is backed by it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from offline_assistants.api.bodies import CheckedRoute
from offline_assistants.outbound import OutboundAttempts

router = APIRouter(prefix="/v1/network_attempts", route_class=CheckedRoute)


@router.get("")
async def list_network_attempts(request: Request) -> dict[str, Any]:
    """The newest first; `num_attempts` counts also those that are no longer kept. `watched_since` is null where nothing watches."""
    attempts: OutboundAttempts = request.app.state.outbound
    data = [{"object": "network_attempt", "created_at": each.at, "kind": each.kind, "address": each.address} for each in attempts.newest()]
    return {"object": "list", "data": data, "num_attempts": attempts.num_attempts, "watched_since": attempts.since}
