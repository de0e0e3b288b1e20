"""For those who run the server: liveness, readiness, metrics, the OpenAPI document."""

from __future__ import annotations

from typing import Any

from litestar import Response, get
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.api.documents import Live, Ready
from gateway.api.jobs import json_response
from gateway.api.openapi import KEY_SCHEME, OPEN, fails, succeeds
from gateway.api.security import Core, authenticated
from gateway.errors import NotFound


@get("/health/live", operation_id="live", security=OPEN, tags=["server"], responses=succeeds(Live))
async def live() -> Response[bytes]:
    """Whether the process answers; needs no key."""
    return json_response(Live())


@get(
    "/health/ready",
    operation_id="ready",
    security=OPEN,
    tags=["server"],
    responses={**succeeds(Ready), **fails({503: "It does not, and why."})},
)
async def ready(gateway: Core) -> Response[bytes]:
    """Whether the server takes jobs: its database answers and it is not stopping. Needs no key."""
    return json_response(Ready("ready", dict(await gateway.ready())))


def metrics_allowed(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """The setting `metrics_access`: everybody, keys with the scope `admin`, or nobody.

    Raises:
        NotFound: the setting is `off`.
        Unauthorized, Forbidden: it is `key`, and the key is not good enough.
    """
    access = connection.app.state.gateway.settings.metrics_access
    if access == "off":
        raise NotFound("metrics are off; the setting is metrics_access")
    if access == "key":
        authenticated(connection, handler)


@get(
    "/metrics",
    operation_id="metrics",
    guards=[metrics_allowed],
    security=[{}, {KEY_SCHEME: []}],
    tags=["server"],
    opt={"scope": "admin"},
    responses={
        **succeeds(str, words="Metrics in Prometheus' text format.", media_type="text/plain"),
        **fails({401: "The server asks for a key.", 403: "The key lacks the scope `admin`.", 404: "Metrics are off."}),
    },
)
async def metrics(gateway: Core) -> Response[bytes]:
    """The server's counters, for Prometheus."""
    return Response(
        generate_latest(gateway.metrics.registry), status_code=200, headers={"content-type": CONTENT_TYPE_LATEST}
    )


@get("/openapi.json", include_in_schema=False)
async def openapi_json(state: State) -> Response[bytes]:
    """This API as an OpenAPI 3.1 document."""
    return Response(state.openapi(), headers={"content-type": "application/json"})
