"""Mount the handlers of endpoints under `/v2/{endpoint_id}`, and at the root for the endpoint `default`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from litestar import Router
from litestar.di import NamedDependency, Provide
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from gateway.api.http.security import Caller, authenticated

DEFAULT_ENDPOINT = "default"
Endpoint: TypeAlias = NamedDependency[str]


def default_endpoint(caller: Caller) -> str:
    """Return the endpoint of paths that name none. Depends on the caller, see `provide_caller`."""
    return DEFAULT_ENDPOINT


def named_endpoint(endpoint_id: FromPath[str], caller: Caller) -> str:
    """Return the endpoint that a path names. Depends on the caller, see `provide_caller`."""
    return endpoint_id


def per_endpoint(
    handlers: Sequence[HTTPRouteHandler], max_body_bytes: int, named_only: Sequence[HTTPRouteHandler] = ()
) -> list[Router]:
    """Build the routers that mount the handlers at both places.

    Args:
        max_body_bytes: the largest body. Handlers with another limit need another call.
        named_only: handlers only under `/v2/{endpoint_id}`, not at the root.
    """
    return [
        Router(
            path,
            route_handlers=[*handlers, *further],
            dependencies={"endpoint": Provide(endpoint, sync_to_thread=False)},
            guards=[authenticated],
            tags=["jobs"],
            request_max_body_size=max_body_bytes,
        )
        for path, endpoint, further in (
            ("/v2/{endpoint_id:str}", named_endpoint, named_only),
            ("/", default_endpoint, ()),
        )
    ]
