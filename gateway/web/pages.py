"""Serve `/`, `/docs` and their files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Any

import msgspec
from litestar import Request, Response, route
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from gateway.errors import NotFound

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_READ = (HttpMethod.GET, HttpMethod.HEAD)


class _File(msgspec.Struct, frozen=True):
    """A file of the package, read once at import."""

    content: bytes
    headers: dict[str, str]


def _load() -> dict[str, _File]:
    files = {}
    for entry in resources.files("gateway.web").joinpath("static").iterdir():
        suffix = "." + entry.name.rpartition(".")[2]
        content = entry.read_bytes()
        headers = {
            "content-type": _TYPES[suffix],
            "etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',
            # Browsers ask again each time and get 304 until the server is upgraded.
            "cache-control": "no-cache",
        }
        if suffix == ".html":
            headers["content-security-policy"] = CONTENT_SECURITY_POLICY
            headers["x-frame-options"] = "DENY"
        files[entry.name] = _File(content, headers)
    return files


_FILES = _load()


def _answer(request: Request[Any, Any, Any], name: str) -> Response[bytes]:
    file = _FILES.get(name)
    if file is None:
        raise NotFound(f"there is no file {name[:80]!r} here")
    if request.headers.get("if-none-match") == file.headers["etag"]:
        return Response(b"", status_code=304, headers=file.headers)
    if request.method == "HEAD":
        return Response(b"", headers={**file.headers, "content-length": str(len(file.content))})
    return Response(file.content, headers=file.headers)


@route("/", http_method=_READ, include_in_schema=False, status_code=200)
async def index(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Serve the start page: a form that speaks, and the curl command for it."""
    return _answer(request, "index.html")


@route("/docs", http_method=_READ, include_in_schema=False, status_code=200)
async def docs(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Serve the page that shows the OpenAPI document."""
    return _answer(request, "docs.html")


@route("/static/{name:str}", http_method=_READ, include_in_schema=False, status_code=200)
async def static(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    """Serve a file of the pages."""
    return _answer(request, name)


def pages() -> Sequence[HTTPRouteHandler]:
    """Return the routes of the pages, for `gateway.api.build_app`."""
    return (index, docs, static)
