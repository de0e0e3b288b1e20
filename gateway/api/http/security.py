"""The guard of routes that need a key: checks the key, its scope and its limits."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, TypeAlias

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.params import SkipValidation

from gateway.access.principal import Principal
from gateway.api.http.envelope import characters_of
from gateway.api.http.observe import LEAVE
from gateway.api.http.ports import GatewayPort
from gateway.errors import BadRequest
from gateway.jobs.model.views import Envelope

Core: TypeAlias = NamedDependency[SkipValidation[GatewayPort]]
"""The gateway, injected into a handler."""

Caller: TypeAlias = NamedDependency[SkipValidation[Principal]]
"""The principal of the request's key, injected into a handler."""

SCOPE_OPT = "scope"
ADMITTED = "voxgate.admitted"
"""The key in the ASGI scope by which the fast lane marks a request that it has counted against the limits."""


_HOST = re.compile(rb"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?").fullmatch


async def authenticated(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Check the key before a byte of the body is read.

    This waits for nothing, but Litestar would run a guard that is no coroutine function in a thread.

    Raises:
        BadRequest: the body is compressed.
        Unauthorized: the key is missing or not valid.
        Forbidden: the key lacks the route's scope (`opt={"scope": ...}`, `speak` by default).
    """
    access = connection.app.state.gateway.access
    key: str | None = None
    codings: list[str] = []
    for name, value in connection.scope["headers"]:  # Litestar would first build an object of all headers
        if name == b"authorization":
            key = value.decode("latin-1")
        elif name == b"content-encoding":
            codings.append(value.decode("latin-1").strip().lower())
    principal = access.authenticate(key)
    access.require(principal, handler.opt.get(SCOPE_OPT, "speak"))
    connection.scope["user"] = principal
    for coding in codings:
        if coding not in ("identity", ""):
            raise BadRequest(f"a body in Content-Encoding {coding[:40]!r} is not supported: send it uncompressed")


def provide_caller(request: Request[Any, Any, Any], gateway: Core) -> Any:
    """Return the principal that the guard found.

    The parameter `gateway` is there only to fix the order. Litestar provides independent dependencies in a group of
    tasks, which costs a fifth of a request.
    """
    return request.scope["user"]


async def admit(
    gateway: GatewayPort,
    caller: Principal,
    endpoint_id: str,
    verb: str,
    request: Request[Any, Any, Any],
    envelope: Envelope | None = None,
) -> None:
    """Count the request once against the limits of its key and endpoint, and as in flight until it is answered.

    Raises:
        TooManyRequests: a limit is reached.
    """
    if (leave := gateway.access.enter(caller, endpoint_id, verb)) is not None:
        request.scope[LEAVE] = leave  # type: ignore[literal-required] # our own key, for the wrapper around the app
    if ADMITTED in request.scope:
        return
    # `input` is never unset here: decode_envelope has checked it.
    characters = characters_of(envelope.input) if envelope is not None else 0  # type: ignore[arg-type]
    await gateway.access.admit(caller, endpoint_id, verb, characters)


def base_url(scheme: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return `http://host:port` from the Host header, for URLs in answers; empty if there is no valid Host."""
    for name, value in headers:
        if name == b"host":
            return f"{scheme}://{value.decode('latin-1')}" if usable_host(value) else ""
    return ""


def usable_host(host: bytes) -> bool:
    """Return whether the value of a Host header can be used in a URL."""
    return _HOST(host) is not None
