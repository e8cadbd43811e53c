"""What /openapi.json says of the routes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.api.conftest import LiveServer


@pytest.fixture
def document(server: LiveServer) -> dict[str, Any]:
    return httpx.get(server.url.removesuffix("/v1") + "/openapi.json").json()


def operations_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{method.upper()} {path}": found for path, methods in document["paths"].items() for method, found in methods.items()}


def test_no_answer_is_left_open_and_no_failure_is_fastapi_s(document: dict[str, Any]) -> None:
    for place, found in operations_of(document).items():
        assert "422" not in found["responses"], place
        assert all(content["schema"] for response in found["responses"].values() for content in response["content"].values()), place


def test_a_stream_is_among_the_answers_where_a_body_may_ask_for_one(document: dict[str, Any]) -> None:
    streaming = {place for place, found in operations_of(document).items() if "text/event-stream" in found["responses"]["200"]["content"]}

    assert {f"POST /v1/threads/{each}" for each in ("runs", "{thread_id}/runs", "{thread_id}/runs/{run_id}/submit_tool_outputs")} <= streaming


def test_what_never_leaves_the_server_is_not_in_the_schemas(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    assert "digest" not in schemas["File"]["properties"]
    assert not {"batch_id", "filename", "text_digest"} & set(schemas["VectorStoreFile"]["properties"])


def test_an_answer_links_to_what_can_be_done_with_it(document: dict[str, Any]) -> None:
    links = operations_of(document)["POST /v1/threads/{thread_id}/runs"]["responses"]["200"]["links"]

    assert links["cancelRun"]["parameters"] == {"thread_id": "$response.body#/thread_id", "run_id": "$response.body#/id"}
    assert set(links) == {"getRun", "modifyRun", "cancelRun", "listRunSteps", "submitToolOuputsToRun"}


def test_the_pages_that_would_load_scripts_from_elsewhere_are_off(server: LiveServer) -> None:
    response = httpx.get(server.url.removesuffix("/v1") + "/docs")

    assert (response.status_code, response.json()["error"]["message"]) == (404, "Invalid URL (GET /docs)")
