"""The surface of voxgate's own API."""

from __future__ import annotations

from collections.abc import Sequence

from litestar.types import ControllerRouterHandler

from gateway.api.http.documents import NewPronunciations, NewVoice
from gateway.api.http.mounts import per_endpoint
from gateway.api.http.surface import Surface
from gateway.api.own import operations
from gateway.api.own.audio import audio
from gateway.api.own.lists import LISTS
from gateway.api.own.pronunciations import PRONUNCIATIONS
from gateway.api.own.subtitles import subtitles
from gateway.api.own.voices import VOICES
from gateway.settings import Settings

_VOICE_FORM = {
    "type": "object",
    "required": ["file", "name", "consent"],
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "name": {"type": "string"},
        "consent": {"type": "string"},
        "language": {"type": "string"},
    },
}


def _routes(settings: Settings) -> Sequence[ControllerRouterHandler]:
    return [
        *per_endpoint((*LISTS, *VOICES, subtitles), settings.max_body_runsync_bytes),
        audio,
        operations.live,
        operations.ready,
        operations.metrics,
        operations.usage,
        *PRONUNCIATIONS,
    ]


OWN = Surface(
    routes=_routes,
    unlisted=(operations.live_head, operations.ready_head, operations.openapi_json),
    bodies={"addVoice": NewVoice, "setPronunciations": NewPronunciations, "putPronunciations": NewPronunciations},
    forms={"addVoice": _VOICE_FORM},
)
