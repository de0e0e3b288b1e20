"""`/voices`: the voices of the backends and those that tenants upload."""

from __future__ import annotations

from typing import Any

from litestar import Request, Response, delete, get, post, route
from litestar.enums import HttpMethod
from litestar.params import FromPath

from gateway.api.http.answers import json_response
from gateway.api.http.documents import Deleted, OwnVoice, VoiceInfo, Voices
from gateway.api.http.files import file_response
from gateway.api.http.mounts import Endpoint
from gateway.api.http.openapi import answers, fails, operation_id
from gateway.api.http.ports import GatewayPort
from gateway.api.http.security import Caller, Core, admit
from gateway.api.http.uploads import MAX_BODY_BYTES, read_upload
from gateway.api.own.audio import FILE_ANSWERS
from gateway.errors import Conflict

_SCOPE = {"scope": "voices"}
_TAGS = ["voices"]


@get("/voices", operation_id=operation_id("voices"), tags=_TAGS, responses=answers(Voices))
async def voices(request: Request[Any, Any, Any], gateway: Core, caller: Caller, endpoint: Endpoint) -> Response[bytes]:
    """List the caller's own voices and those of the backends that serve the endpoint (of all backends if the path names
    no endpoint)."""
    serving = gateway.engines
    if request.path_params:  # the path names an endpoint
        names = [candidate.name for candidate in gateway.router.serving(gateway.endpoints.resolve(endpoint))]
        serving = sorted((hosted for hosted in serving if hosted.name in names), key=lambda h: names.index(h.name))
    found = [
        VoiceInfo(voice.name, hosted.name, voice.languages, voice.description, voice.gender)
        for hosted in serving
        for voice in hosted.voices
    ]
    cloning = _cloning(gateway)
    shown = "voices" in caller.scopes
    own = [OwnVoice.of(voice, cloning, consent=shown) for voice in gateway.voices.all(caller.tenant)]
    return json_response(Voices(tuple(found), tuple(own)))


@post(
    "/voices",
    operation_id=operation_id("addVoice"),
    status_code=200,
    tags=_TAGS,
    opt=_SCOPE,
    request_max_body_size=MAX_BODY_BYTES,
    responses={
        **answers(OwnVoice),
        **fails(
            {
                400: "The form, the name, the consent or the recording is not valid; the error gives the reason.",
                409: "A voice of this name exists, or there are too many voices.",
                413: "The body is too large.",
            }
        ),
    },
)
async def add_voice(
    request: Request[Any, Any, Any], gateway: Core, caller: Caller, endpoint: Endpoint
) -> Response[bytes]:
    """Make a voice from a recording: WAV, MP3, FLAC or OGG, 3 to 60 seconds, with a note of the speaker's consent."""
    await admit(gateway, caller, endpoint, "voices", request)
    gateway.endpoints.resolve(endpoint)
    sent = await read_upload(request)
    for hosted in gateway.engines:
        if any(voice.name == sent.name for voice in hosted.voices):
            raise Conflict(f"{hosted.name} has a voice named {sent.name!r}; choose another name")
    voice = await gateway.voices.add(caller.tenant, sent.name, sent.audio_base64, sent.consent, sent.language)
    return json_response(OwnVoice.of(voice, _cloning(gateway), consent=True))


@route(
    "/voices/{name:str}/audio",
    http_method=(HttpMethod.GET, HttpMethod.HEAD),
    operation_id=operation_id("voiceAudio"),
    status_code=200,
    tags=_TAGS,
    opt=_SCOPE,
    responses={
        **answers(bytes, words="The recording, as WAV.", media_type="audio/wav"),
        **FILE_ANSWERS,
        **fails(
            {
                404: "No such endpoint or voice, or not one of this key's tenant.",
                416: "The Range is outside of the file.",
            }
        ),
    },
)
async def voice_audio(
    request: Request[Any, Any, Any], gateway: Core, caller: Caller, endpoint: Endpoint, name: FromPath[str]
) -> Response[Any]:
    """Get the prepared recording of a voice: mono WAV at 24 kHz."""
    gateway.endpoints.resolve(endpoint)
    recording = await gateway.voices.recording(caller.tenant, name)
    return file_response(request, recording, "audio/wav", "private, no-store")


@delete(
    "/voices/{name:str}",
    operation_id=operation_id("deleteVoice"),
    status_code=200,
    tags=_TAGS,
    opt=_SCOPE,
    responses={
        **answers(Deleted),
        **fails({404: "No such endpoint or voice, or not one of this key's tenant."}),
    },
)
async def delete_voice(gateway: Core, caller: Caller, endpoint: Endpoint, name: FromPath[str]) -> Response[bytes]:
    """Delete a voice with its recording, its takes, and its cache entries."""
    gateway.endpoints.resolve(endpoint)
    await gateway.voices.remove(caller.tenant, name)
    return json_response(Deleted(name))


def _cloning(gateway: GatewayPort) -> tuple[str, ...]:
    return tuple(hosted.name for hosted in gateway.engines if hosted.capabilities.cloning)


VOICES = (voices, add_voice, voice_audio, delete_voice)
