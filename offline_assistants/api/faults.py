"""Every failure in the API's own envelope. Knows no error class by name beyond the base."""

from __future__ import annotations

import logging
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from offline_assistants.errors import OfflineAssistantsError

log = logging.getLogger(__name__)

_TYPE_NAMES: dict[type, str] = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    list: "an array",
    dict: "an object",
    type(None): "null",
}
_EXPECTED = {
    "string": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "list": "an array",
    "dict": "an object",
    "model": "an object",
    "model_attributes": "an object",
}


def install(app: FastAPI) -> None:
    """Answer every failure of `app` with the envelope."""
    app.add_exception_handler(OfflineAssistantsError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unknown)


def envelope(message: str, *, status: int, error_type: str, param: str | None = None, code: str | None = None) -> JSONResponse:
    """`{"error": {message, type, param, code}}`, all four keys always."""
    return JSONResponse({"error": {"message": message, "type": error_type, "param": param, "code": code}}, status_code=status)


async def _known(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, OfflineAssistantsError):
        return await _unknown(request, error)
    if error.status >= 500:
        log.error("%s %s: %s", request.method, request.url.path, error.message, exc_info=error.__cause__)
    response = envelope(error.message, status=error.status, error_type=error.type, param=error.param, code=error.code)
    if error.status not in (429, 503):
        response.headers["x-should-retry"] = "false"
    return response


async def _unknown(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return envelope(f"The server failed: {type(error).__name__}. Its log holds the reason.", status=500, error_type="server_error")


async def _http(request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        message = f"Invalid URL ({request.method} {request.url.path})"
    elif status == 405:
        message = f"Not allowed to {request.method} on {request.url.path}."
    else:
        message = str(error.detail) if isinstance(error, HTTPException) else "The server failed."
    response = envelope(message, status=status, error_type="invalid_request_error")
    if isinstance(error, HTTPException):
        response.headers.update(error.headers or {})
    return response


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        return await _unknown(request, error)
    # A union reports every branch it tried: the one that got deepest into the body is what the client meant.
    worst = max(error.errors(), key=lambda each: (len(each["loc"]), each["type"] != "extra_forbidden", not each["type"].endswith("_type")))
    message, param, code = describe(worst, error.body)
    return envelope(message, status=400, error_type="invalid_request_error", param=param, code=code)


def describe(problem: dict[str, Any], body: object) -> tuple[str, str | None, str]:
    """A validation problem of pydantic's as message, param and code of the API."""
    kind, context = str(problem["type"]), cast("dict[str, Any]", problem.get("ctx", {}))
    given: object = problem.get("input")
    param = dotted(problem["loc"], body)
    if kind == "json_invalid":
        return "We could not parse the JSON body of your request. Send one JSON object with the header Content-Type: application/json.", None, "invalid_json"
    if problem["loc"] == ("body",):
        return "The body has to be one JSON object, sent with the header Content-Type: application/json.", None, "invalid_json"
    if kind == "missing":
        return f"Missing required parameter: '{param}'.", param, "missing_required_parameter"
    if kind == "extra_forbidden":
        return f"Unknown parameter: '{param}'.", param, "unknown_parameter"
    told_by = str(context.get("discriminator", "'type'")).strip("'")
    if kind in ("literal_error", "enum", "union_tag_invalid"):
        expected = str(context.get("expected") or context.get("expected_tags", "")).replace(" or ", ", ")
        value = given if kind != "union_tag_invalid" else context.get("tag")
        param = param if kind != "union_tag_invalid" else f"{param}.{told_by}"
        return f"Invalid value: '{value}'. Supported values are: {expected}.", param, "invalid_value"
    if kind == "object_above_max_properties":
        return f"Invalid '{param}': {problem['msg']}", param, kind
    if kind == "union_tag_not_found":
        return f"Missing required parameter: '{param}.{told_by}'.", f"{param}.{told_by}", "missing_required_parameter"
    if kind.endswith(("_type", "_parsing")):
        expected = _EXPECTED.get(kind.rsplit("_", 1)[0], "another type")
        return f"Invalid type for '{param}': expected {expected}, but got {_TYPE_NAMES.get(type(given), 'something else')} instead.", param, "invalid_type"
    if kind == "string_too_long" and problem["loc"][-1] == "[key]":
        text = f"key too long. Expected a key with maximum length {context['max_length']}, but got a key with length {len(str(given))} instead."
        return f"Invalid '{param}': {text}", param, "string_above_max_length"
    if kind == "string_too_short":
        text = f"string too short. Expected a string with minimum length {context['min_length']}, but got a string with length {len(str(given))} instead."
        return f"Invalid '{param}': {text}", param, "string_below_min_length"
    if kind == "string_too_long":
        limit, length = context["max_length"], len(str(given))
        text = f"string too long. Expected a string with maximum length {limit}, but got a string with length {length} instead."
        return f"Invalid '{param}': {text}", param, "string_above_max_length"
    if kind == "too_long":
        text = (
            f"array too long. Expected an array with maximum length {context['max_length']}, but got an array with length {context['actual_length']} instead."
        )
        return f"Invalid '{param}': {text}", param, "array_above_max_length"
    if kind == "too_short":
        text = (
            f"array too short. Expected an array with minimum length {context['min_length']}, but got an array with length {context['actual_length']} instead."
        )
        return f"Invalid '{param}': {text}", param, "array_below_min_length"
    if kind in ("greater_than_equal", "greater_than", "less_than_equal", "less_than"):
        bound = next(iter(context.values()))
        side = ("below", "minimum", ">=") if kind.startswith("greater") else ("above", "maximum", "<=")
        noun = "integer" if isinstance(given, int) or (isinstance(given, str) and given.lstrip("-").isdigit()) else "decimal"
        code = f"{noun}_{side[0]}_{side[1][:3]}_value"
        return f"Invalid '{param}': {noun} {side[0]} {side[1]} value. Expected a value {side[2]} {bound}, but got {given} instead.", param, code
    if kind == "string_pattern_mismatch":
        return f"Invalid '{param}': string does not match pattern. Expected a string that matches the pattern '{context['pattern']}'.", param, "invalid_value"
    return f"Invalid '{param}': {str(problem['msg']).removeprefix('Value error, ')}.", param, "invalid_value"


def dotted(location: tuple[str | int, ...], body: object) -> str:
    """Where in the request, as `tools[0].function.name`. Names of union branches, which stand in pydantic's locations too, are not in the body: left out."""
    source, *path = location
    if path[-1:] == ["[key]"]:  # pydantic's word for a key that is wrong itself: the object is named
        path = path[:-2]
    text = ""
    value: Any = body if source == "body" else None
    for position, part in enumerate(path):
        is_last = position == len(path) - 1
        if isinstance(part, int):
            text += f"[{part}]"
            items = cast("list[Any]", value) if isinstance(value, list) else []
            value = items[part] if part < len(items) else None
        elif source != "body" or (isinstance(value, dict) and (part in value or is_last)):
            text += f".{part}" if text else part.removesuffix("[]")
            known = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
            value = known.get(part)
    return text or ".".join(str(part) for part in path)
