"""Translate the body of `POST /v1/audio/speech` into an `input` of the job API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from litestar import Response
from msgspec import UNSET, UnsetType

from gateway.access.principal import Principal
from gateway.api.http.envelope import SLICE_BYTES, json_problem, repair_json, repair_json_in_slices
from gateway.api.http.ports import GatewayPort
from gateway.api.openai.errors import Refused, openai_error
from gateway.errors import InvalidInput
from gateway.routing.models import OPENAI_VOICES, ListedModel, takes
from gateway.settings.nearest import nearest
from gateway.speech.parts import MAX_VALUE_BYTES, Parts
from gateway.speech.request import AudioFormat, CacheUse, Normalize


class SpeechBody(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """OpenAI's fields, and after them voxgate's own (`extra_body` in OpenAI's clients).

    `model` is an endpoint, a backend, or a model of OpenAI's, which means the endpoint `default`. If a backend has no
    voice with the name of an OpenAI voice, its default voice speaks, and a header of the answer reports that.
    """

    model: str
    input: str
    voice: str | dict[str, str] = "default"
    response_format: AudioFormat = "mp3"
    speed: float = 1.0
    instructions: str = ""
    stream_format: Literal["audio", "sse"] = "audio"
    language: str | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    options: dict[str, Any] | UnsetType = UNSET
    bitrate: int | UnsetType = UNSET
    loudness: float | UnsetType = UNSET
    normalize: Normalize | UnsetType = UNSET
    cache: CacheUse | UnsetType = UNSET
    strict: bool | UnsetType = UNSET


class SpeechCall(msgspec.Struct, frozen=True):
    """A translated request.

    Args:
        raw_input: the `input` for the job API.
        events: whether to send the audio as server-sent events.
        warnings: the parts of the request that are not done as requested.
    """

    endpoint_id: str
    raw_input: bytes
    characters: int
    events: bool
    warnings: tuple[str, ...] = ()


SPEEDS = (0.5, 2.0)
_OPENAI_SPEEDS = (0.25, 4.0)
_KNOWN = SpeechBody.__struct_fields__
_PARTS = Parts(_KNOWN, "input")
_OURS = ("speed", "language", "seed", "bitrate", "loudness", "normalize", "cache", "strict")
_RENAMED = {"text": "input", "format": "response_format"}
_encode = msgspec.json.encode


async def read_speech_call(gateway: GatewayPort, caller: Principal, body: bytes) -> SpeechCall:
    """Do the same as `translate`, but repair a large body in slices, so that the event loop can run in between.

    Raises:
        Refused, ModelNotInitialized: see `translate`.
    """
    if len(body) <= SLICE_BYTES:
        return translate(gateway, caller, body)
    try:
        return translate(gateway, caller, body, repair=False)
    except Refused as error:
        if error.refusal != "invalid_json":
            raise
    return translate(gateway, caller, await repair_json_in_slices(body), repair=False)


def translate(gateway: GatewayPort, caller: Principal, body: bytes, *, repair: bool = True) -> SpeechCall:
    """Translate a body into a call of the job API.

    Args:
        repair: whether to try again with `repair_json` if the parser refuses the body.

    Raises:
        Refused: a field is missing, unknown or of the wrong type, the model does not exist, or it lacks a feature.
        ModelNotInitialized: none of the model's backends is loaded.
    """
    given = _decode(body, repair=repair)
    model = _model(gateway, _text(given, "model"))
    serving = gateway.router.serving(model.endpoint, model.backend)
    speaker = serving[0]
    job_input: dict[str, Any] = {"text": _text(given, "input"), "format": given.get("response_format", "mp3")}
    job_input.update((key, given[key]) for key in _OURS if key in given)
    if model.backend is not None:
        job_input["backend"] = model.backend
    job_input["delivery"] = "url"  # the answer is the audio itself, so base64 is not needed
    _check_speed(given.get("speed"))
    warnings: list[str] = []
    voice = _voice(given.get("voice"))
    if voice is not None:
        if _lacks(gateway, caller, speaker.voices, voice):
            if given.get("strict") is True:
                raise Refused(
                    f"{speaker.name} has no voice {voice!r}, and 'strict' allows no other: leave 'strict' out to get "
                    "its default voice, or name one of its voices",
                    "voice",
                )
            warnings.append(f"voice_mapped: {speaker.name} has no voice {voice!r}, its default voice speaks")
        else:
            job_input["voice"] = voice
    options = given.get("options", {})
    instructions = given.get("instructions")
    if instructions is not None and not isinstance(instructions, str):
        raise Refused("instructions must be a string", "instructions", "invalid_type")
    if instructions:
        if not any(takes(each, "instructions") for each in serving):
            able = gateway.models.taking("instructions")
            instead = f"or use the model {' or '.join(able)}" if able else "no loaded backend takes them"
            raise Refused(f"{speaker.name} takes no instructions: leave 'instructions' out; {instead}", "instructions")
        options = {**options, "instructions": instructions} if isinstance(options, dict) else options
    if options:
        job_input["options"] = options
    stream_format = given.get("stream_format", "audio")
    if stream_format not in ("audio", "sse"):
        raise Refused(f"stream_format must be 'audio' or 'sse', got {_shown(stream_format)}", "stream_format")
    raw_input, characters = _encode(job_input), len(job_input["text"])
    return SpeechCall(model.endpoint.id, raw_input, characters, stream_format == "sse", tuple(warnings))


def refusal(error: InvalidInput) -> Response[bytes]:
    """Answer an error of the job API with this API's field names."""
    message = str(error)
    word, _, rest = message.partition(" ")
    if word in _RENAMED:
        return openai_error(error.status, f"{_RENAMED[word]} {rest}", "invalid_value", _RENAMED[word])
    if " has no voice " in message or " with your voice " in message:
        return openai_error(error.status, message, "invalid_value", "voice")
    return openai_error(error.status, message, error.code, word if word in _KNOWN else None)


def _decode(body: bytes, *, repair: bool) -> dict[str, Any]:
    try:
        try:
            given = _given(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            if not repair:
                raise
            given = _given(repair_json(body))
    except InvalidInput as error:
        raise Refused(str(error), str(error).partition(" ")[0]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(f"the body is not valid JSON: {json_problem(body, error)}", None, code="invalid_json") from None
    if not isinstance(given, dict):
        raise Refused("the body must be an object such as {'model': 'tts-1', 'input': 'Hello', 'voice': 'alloy'}")
    for key in given:
        if key not in _KNOWN:
            meant = nearest(key, _KNOWN)
            hint = f": did you mean {meant!r}?" if meant else "."
            raise Refused(
                f"unknown parameter {_shown(key)}{hint} Known: {', '.join(_KNOWN)}", key[:80], "unknown_parameter"
            )
    return {key: value for key, value in given.items() if value is not None}


def _given(body: bytes) -> Any:
    """Decode the body's values. In a large body only the text may be large."""
    if len(body) <= MAX_VALUE_BYTES:
        return msgspec.json.decode(body)
    parts = _PARTS.read(body)
    return None if parts is None else {name: _PARTS.value(name, value) for name, value in parts.items()}


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if value is None:
        raise Refused(f"you must provide {name!r}", name, "missing_required_parameter")
    if not isinstance(value, str):
        raise Refused(f"{name} must be a string, got {_shown(value)}", name, "invalid_type")
    return value


def _model(gateway: GatewayPort, name: str) -> ListedModel:
    model = gateway.models.find(name)
    if model is None:
        known = gateway.models.all()
        meant = nearest(name, known)
        hint = f", did you mean {meant!r}?" if meant else ""
        message = f"the model {_shown(name)} does not exist{hint}; there are: {', '.join(known)}"
        raise Refused(message, "model", "model_not_found")
    return model


def _check_speed(speed: Any) -> None:
    if isinstance(speed, int | float) and not isinstance(speed, bool) and not SPEEDS[0] <= speed <= SPEEDS[1]:
        (low, high), (least, most) = SPEEDS, _OPENAI_SPEEDS
        if least <= speed <= most:
            raise Refused(
                f"speed must be between {low} and {high} here ({least} to {most} at OpenAI), got {speed}", "speed"
            )


def _voice(value: Any) -> str | None:
    """Return a voice's name. OpenAI's custom voices are objects with an id."""
    if isinstance(value, dict) and isinstance(value.get("id"), str) and len(value) == 1:
        value = value["id"]
    if value is not None and not isinstance(value, str):
        raise Refused(f"voice must be a name, got {_shown(value)}", "voice", "invalid_type")
    return value


def _lacks(gateway: GatewayPort, caller: Principal, voices: Any, voice: str) -> bool:
    """Return whether this is a voice of OpenAI's that neither the backend nor the tenant has."""
    if voice not in OPENAI_VOICES or any(each.name == voice for each in voices):
        return False
    return gateway.voices.find(caller.tenant, voice) is None


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
