"""The surface of OpenAI's speech API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Request, Response, Router
from litestar.types import ControllerRouterHandler

from gateway.api.http.security import authenticated
from gateway.api.http.surface import Surface
from gateway.api.openai.errors import PREFIX, Refused, error_answer, openai_error
from gateway.api.openai.request import SpeechBody
from gateway.api.openai.speech import models, one_model, speech
from gateway.settings import Settings


def _routes(settings: Settings) -> Sequence[ControllerRouterHandler]:
    return [
        Router(
            PREFIX,
            route_handlers=[speech, models, one_model],
            guards=[authenticated],
            tags=["openai"],
            request_max_body_size=settings.max_body_runsync_bytes,
        )
    ]


def _on_refused(request: Request[Any, Any, Any], error: Refused) -> Response[bytes]:
    return openai_error(error.status, str(error), error.refusal, error.param)


OPENAI = Surface(
    prefix=PREFIX,
    routes=_routes,
    word_error=error_answer,
    errors={Refused: _on_refused},
    bodies={"speech": SpeechBody},
)
