"""The ASGI application with its routes, errors, lifespan and observer, and the fast lane beside it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import cast

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.types import ControllerRouterHandler

from gateway.api.fastlane import FastLane
from gateway.api.http.asgi import App
from gateway.api.http.errors import ErrorHandlers
from gateway.api.http.observe import Observed, Requests
from gateway.api.http.openapi import document
from gateway.api.http.ports import GatewayPort
from gateway.api.http.security import provide_caller
from gateway.api.http.surface import Surface

REQUEST_ID = "X-Request-ID"


def build_app(
    gateway: GatewayPort, surfaces: Sequence[Surface], pages: Sequence[ControllerRouterHandler] = ()
) -> Observed:
    """Build the application that answers all requests.

    Args:
        gateway: started and stopped with the application's lifespan.
        surfaces: the public APIs.
        pages: more routes, such as those of gateway.web, which this package may not import.
    """
    settings = gateway.settings
    dependencies = {
        "gateway": Provide(lambda: gateway, sync_to_thread=False),
        "caller": Provide(provide_caller, sync_to_thread=False),
    }
    cors = None
    if settings.cors_origins:
        cors = CORSConfig(
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            # Any header: no cookies need protection, and clients in a page send their own headers (x-stainless-…).
            allow_headers=["*"],
            expose_headers=[REQUEST_ID, "Retry-After"],
            max_age=86_400,
        )

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncGenerator[None, None]:
        await gateway.start()
        try:
            yield
        finally:
            await gateway.stop()

    routes = [route for surface in surfaces for route in (*surface.routes(settings), *surface.unlisted)]
    errors = ErrorHandlers(surfaces)
    app = Litestar(
        route_handlers=[*routes, *pages],
        dependencies=dependencies,
        exception_handlers=errors.by_type(),
        lifespan=[lifespan],
        cors_config=cors,
        openapi_config=None,
        logging_config=None,
        request_max_body_size=settings.max_body_runsync_bytes,
        state=State({"gateway": gateway, "openapi": cache(lambda: document(surfaces, settings, dependencies))}),
    )
    requests = Requests(gateway.metrics)
    return Observed(cast(App, app), requests, FastLane(gateway, requests, cors=cors is not None), errors.wording.early)
