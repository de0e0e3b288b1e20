"""Who can speak: the voices of every backend."""

from __future__ import annotations

from typing import Literal

import msgspec
from litestar import Response, get

from gateway.api.jobs import json_response
from gateway.api.openapi import fails, succeeds
from gateway.api.security import Core, authenticated


class VoiceInfo(msgspec.Struct, frozen=True):
    """A voice one may ask for with `voice` and, where several backends have one of that name, `backend`."""

    name: str
    backend: str
    languages: tuple[str, ...]
    description: str
    gender: Literal["female", "male", "neutral", ""]


class Voices(msgspec.Struct, frozen=True):
    """The voices of every backend that may speak; each backend's default comes first."""

    voices: tuple[VoiceInfo, ...]


@get(
    "/voices",
    operation_id="voices",
    guards=[authenticated],
    tags=["voices"],
    responses={**succeeds(Voices), **fails({401: "No key, or not a good one.", 403: "The key lacks a scope."})},
)
async def voices(gateway: Core) -> Response[bytes]:
    """The voices one may ask for."""
    found = [
        VoiceInfo(voice.name, hosted.name, voice.languages, voice.description, voice.gender)
        for hosted in gateway.engines
        for voice in hosted.voices
    ]
    return json_response(Voices(tuple(found)))
