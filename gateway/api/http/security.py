"""Who is asking, and whether they may: the guard of every route that needs a key."""

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
"""Whose key came with the request, injected into a handler."""

SCOPE_OPT = "scope"
ADMITTED = "voxgate.admitted"
"""Set in the ASGI scope by the fast lane: this request was counted against its limits already."""


_HOST = re.compile(rb"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?").fullmatch


async def authenticated(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Let only good keys pass, before a byte of the body is read.

    It waits for nothing, but Litestar runs a guard that is no coroutine function in a thread.

    Raises:
        BadRequest: the body is compressed.
        Unauthorized: no key, or not a good one.
        Forbidden: the key lacks the route's scope (`opt={"scope": ...}`, `speak` where it says nothing).
    """
    access = connection.app.state.gateway.access
    key: str | None = None
    codings: list[str] = []
    for name, value in connection.scope["headers"]:  # Litestar would make an object of them all first
        if name == b"authorization":
            key = value.decode("latin-1")
        elif name == b"content-encoding":
            codings.append(value.decode("latin-1").strip().lower())
    principal = access.authenticate(key)
    access.require(principal, handler.opt.get(SCOPE_OPT, "speak"))
    connection.scope["user"] = principal
    for coding in codings:
        if coding not in ("identity", ""):
            raise BadRequest(f"a body in Content-Encoding {coding[:40]!r} is not read: send it as it is")


def provide_caller(request: Request[Any, Any, Any], gateway: Core) -> Any:
    """The principal the guard found.

    It asks for the gateway only to be provided after it: what Litestar may provide at once it gives to a group of
    tasks, at a fifth of the cost of a request.
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
    """Count the request against the limits of its key and endpoint, once; until it is answered it is in flight.

    Raises:
        TooManyRequests: one of them is reached.
    """
    if (leave := gateway.access.enter(caller, endpoint_id, verb)) is not None:
        request.scope[LEAVE] = leave  # type: ignore[literal-required] # ours, for the wrapper around the app
    if ADMITTED in request.scope:
        return
    # A cast of `input` is not needed: decode_envelope made sure that it is there.
    characters = characters_of(envelope.input) if envelope is not None else 0  # type: ignore[arg-type]
    await gateway.access.admit(caller, endpoint_id, verb, characters)


def base_url(scheme: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
    """`http://host:port` as the caller reached us, for addresses in answers; empty where it sent no usable Host."""
    for name, value in headers:
        if name == b"host":
            return f"{scheme}://{value.decode('latin-1')}" if usable_host(value) else ""
    return ""


def usable_host(host: bytes) -> bool:
    """Whether a Host header's value can stand in an address."""
    return _HOST(host) is not None
