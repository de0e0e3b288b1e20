"""The ASGI application: routes, errors and lifespan, behind the observer; and the fast lane beside it."""

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
    """Everything the server answers.

    Args:
        gateway: started with the application's lifespan, and stopped with it.
        surfaces: the public APIs.
        pages: further routes, such as gateway.web's; this room may not import that one.
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
            # Any: there are no cookies to guard, and clients in a page send headers of their own (x-stainless-…).
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
