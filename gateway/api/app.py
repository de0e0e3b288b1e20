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
from gateway.api.http.errors import HANDLERS, early_error
from gateway.api.http.observe import Observed, Requests
from gateway.api.http.openapi import document
from gateway.api.http.ports import Gateway
from gateway.api.http.security import provide_caller
from gateway.api.openai.speech import openai_router
from gateway.api.own.audio import audio
from gateway.api.own.lists import LISTS
from gateway.api.own.operations import live, live_head, metrics, openapi_json, ready, ready_head, usage
from gateway.api.own.pronunciations import PRONUNCIATIONS
from gateway.api.own.subtitles import subtitles
from gateway.api.own.voices import VOICES
from gateway.api.runpod.jobs import job_routers
from gateway.api.runpod.stream import stream

REQUEST_ID = "X-Request-ID"


def build_app(gateway: Gateway, pages: Sequence[ControllerRouterHandler] = ()) -> Observed:
    """Everything the server answers.

    Args:
        gateway: started with the application's lifespan, and stopped with it.
        pages: further routes, such as gateway.web's; this room may not import that one.
    """
    settings = gateway.settings
    jobs = job_routers(settings, stream, *LISTS, *VOICES, subtitles)
    openai = openai_router(settings.max_body_runsync_bytes)
    api: list[ControllerRouterHandler] = [*jobs, openai, audio, live, ready, metrics, usage, *PRONUNCIATIONS]
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

    app = Litestar(
        route_handlers=[*api, live_head, ready_head, openapi_json, *pages],
        dependencies=dependencies,
        exception_handlers=HANDLERS,
        lifespan=[lifespan],
        cors_config=cors,
        openapi_config=None,
        logging_config=None,
        request_max_body_size=settings.max_body_runsync_bytes,
        state=State({"gateway": gateway, "openapi": cache(lambda: document(api, dependencies))}),
    )
    requests = Requests(gateway.metrics)
    return Observed(cast(App, app), requests, FastLane(gateway, requests, cors=cors is not None), early_error)
