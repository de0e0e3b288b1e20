"""Routes for operators: liveness, readiness, metrics, usage, the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Response, get, head
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.access.usage import DAY_MS, day_of
from gateway.api.http.answers import json_response
from gateway.api.http.documents import Live, Ready, Usage, UsageOfDay
from gateway.api.http.openapi import KEY_SCHEME, OPEN, fails, succeeds
from gateway.api.http.security import Caller, Core, authenticated
from gateway.errors import NotFound


@get("/health/live", operation_id="live", security=OPEN, tags=["server"], responses=succeeds(Live))
async def live() -> Response[bytes]:
    """Check that the process answers. Needs no key."""
    return json_response(Live())


@head("/health/live", include_in_schema=False)
async def live_head() -> None:
    """Check that the process answers, by HEAD, which uptime monitors use."""


@get(
    "/health/ready",
    operation_id="ready",
    security=OPEN,
    tags=["server"],
    responses={**succeeds(Ready), **fails({503: "The server does not take jobs; the error gives the reason."})},
)
async def ready(gateway: Core) -> Response[bytes]:
    """Check whether the server takes jobs: its database answers, its disks have free space, a backend can speak, and it
    is not stopping. Needs no key."""
    return json_response(Ready("ready", dict(await gateway.ready())))


@head("/health/ready", include_in_schema=False)
async def ready_head(gateway: Core) -> None:
    """Check whether the server takes jobs, by HEAD."""
    await gateway.ready()


async def metrics_allowed(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Apply the setting `metrics_access`: open to all, only for keys with the scope `admin`, or off.

    Raises:
        NotFound: the setting is `off`.
        Unauthorized, Forbidden: the setting is `key`, and the key is not valid or lacks the scope.
    """
    access = connection.app.state.gateway.settings.metrics_access
    if access == "off":
        raise NotFound("metrics are off; the setting is metrics_access")
    if access == "key":
        await authenticated(connection, handler)


@get(
    "/metrics",
    operation_id="metrics",
    guards=[metrics_allowed],
    security=[{}, {KEY_SCHEME: []}],
    tags=["server"],
    opt={"scope": "admin"},
    responses={
        **succeeds(str, words="Metrics in Prometheus' text format.", media_type="text/plain"),
        **fails({401: "The server requires a key.", 403: "The key lacks the scope `admin`.", 404: "Metrics are off."}),
    },
)
async def metrics(gateway: Core) -> Response[bytes]:
    """Get the server's metrics for Prometheus."""
    return Response(
        generate_latest(gateway.metrics.registry), status_code=200, headers={"content-type": CONTENT_TYPE_LATEST}
    )


@get(
    "/usage",
    operation_id="usage",
    guards=[authenticated],
    tags=["server"],
    responses={
        **succeeds(Usage),
        **fails(
            {
                400: "The request is invalid.",
                401: "The key is missing or not valid.",
                403: "The key lacks a scope.",
            }
        ),
    },
)
async def usage(
    gateway: Core,
    caller: Caller,
    days: Annotated[int, QueryParameter(ge=1, le=366, description="Number of days, today included (UTC).")] = 30,
) -> Response[bytes]:
    """Get the usage of the key's tenant, one row per day, endpoint and backend."""
    since = day_of(gateway.clock.now_ms() - (days - 1) * DAY_MS)
    rows = await gateway.access.usage_store.report(
        tenant=caller.tenant, since=since, by=("day", "endpoint_id", "backend")
    )
    return json_response(Usage(caller.tenant, since, tuple(UsageOfDay.of(row) for row in rows)))


@get("/openapi.json", include_in_schema=False)
async def openapi_json(state: State) -> Response[bytes]:
    """Get the OpenAPI 3.1 document of this API."""
    return Response(state.openapi(), headers={"content-type": "application/json"})
