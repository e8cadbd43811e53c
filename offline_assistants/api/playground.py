"""The page at / and its files at /playground/. It is an ordinary client of the API; nothing is computed for it here.

Only names that are in the folder are served, so no path leads out of it. A browser asks each time whether it has the newest, by the file's hash.
"""

from __future__ import annotations

import hashlib
from functools import partial
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

FOLDER = Path(__file__).resolve().parents[1] / "playground"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; font-src 'self'; form-action 'none'; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types dompurify"
)
"""No script but ours, no other host, and no text that becomes HTML without having gone through DOMPurify."""
MEDIA_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain"}

router = APIRouter(include_in_schema=False)


def is_page(method: str, path: str) -> bool:
    """Whether a request is for the page itself, which holds nothing of anybody and asks for a key by itself."""
    return method in ("GET", "HEAD") and (path == "/" or path.startswith("/playground/"))


@router.api_route("/", methods=["GET", "HEAD"])
def show_page(request: Request) -> Response:
    return _file(request, "index.html")


@router.api_route("/playground/{name}", methods=["GET", "HEAD"])
def show_file(name: str, request: Request) -> Response:
    return _file(request, name)


def _file(request: Request, name: str) -> Response:
    path = {each.name: each for each in FOLDER.iterdir() if each.suffix in MEDIA_TYPES and each.is_file()}.get(name)
    if path is None:
        raise HTTPException(404)
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"etag": etag, "cache-control": "no-cache", "content-security-policy": POLICY, "cross-origin-opener-policy": "same-origin"}
    answer = partial(Response, headers=headers, media_type=MEDIA_TYPES[path.suffix])
    return answer(status_code=304) if request.headers.get("if-none-match") == etag else answer(content)
