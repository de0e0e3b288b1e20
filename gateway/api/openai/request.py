"""Translate the body of `POST /v1/audio/speech` into an `input` of the job API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from litestar import Response
from msgspec import UNSET, Meta, UnsetType

from gateway.access.principal import Principal
from gateway.api.http.envelope import SLICE_BYTES, json_problem, repair_json, repair_json_in_slices
from gateway.api.http.ports import GatewayPort
from gateway.api.openai.errors import Code, Refused, openai_error
from gateway.errors import InvalidInput
from gateway.routing.models import OPENAI_VOICES, ListedModel, takes
from gateway.settings.words import Fault, FaultKind, meant, shown
from gateway.speech.decode import convert_fields
from gateway.speech.parts import MAX_VALUE_BYTES, Parts
from gateway.speech.request import (
    AudioFormat,
    Bitrate,
    CacheUse,
    LanguageTag,
    Loudness,
    Name,
    Normalize,
    Options,
    Seed,
    Speed,
    Text,
)


class CustomVoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A voice by its id, which is its name here."""

    id: Name


class SpeechBody(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """OpenAI's fields, and after them voxgate's own (`extra_body` in OpenAI's clients).

    `model` is an endpoint, a backend, or a model of OpenAI's, which means the endpoint `default`. If a backend has no
    voice with the name of an OpenAI voice, its default voice speaks, and a header of the answer reports that.
    """

    model: Text
    input: Text
    voice: Name | CustomVoice | UnsetType = UNSET
    response_format: AudioFormat = "mp3"
    speed: Annotated[Speed, Meta(extra={"note": "here (0.25 to 4.0 at OpenAI)"})] | UnsetType = UNSET
    instructions: Text = ""
    stream_format: Literal["audio", "sse"] = "audio"
    language: LanguageTag | UnsetType = UNSET
    seed: Seed | UnsetType = UNSET
    options: Options | UnsetType = UNSET
    bitrate: Bitrate | UnsetType = UNSET
    loudness: Loudness | UnsetType = UNSET
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


_KNOWN = SpeechBody.__struct_fields__
_PARTS = Parts(_KNOWN, "input")
_OURS = ("speed", "language", "seed", "bitrate", "loudness", "normalize", "cache", "strict")
_RENAMED = {"text": "input", "format": "response_format"}
_CODES: Mapping[FaultKind, Code] = {
    "missing": "missing_required_parameter",
    "unknown": "unknown_parameter",
    "type": "invalid_type",
    "value": "invalid_value",
}
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
    asked = _decode(body, repair=repair)
    model = _model(gateway, asked.model)
    serving = gateway.router.serving(model.endpoint, model.backend)
    speaker = serving[0]
    # The answer is the audio itself, so base64 is not needed.
    job_input: dict[str, Any] = {"text": asked.input, "format": asked.response_format, "delivery": "url"}
    job_input.update((name, value) for name in _OURS if (value := getattr(asked, name)) is not UNSET)
    if model.backend is not None:
        job_input["backend"] = model.backend
    warnings: list[str] = []
    if asked.voice is not UNSET:
        voice = asked.voice if isinstance(asked.voice, str) else asked.voice.id
        if not _lacks(gateway, caller, speaker.voices, voice):
            job_input["voice"] = voice
        elif asked.strict is True:
            raise Refused(
                f"{speaker.name} has no voice {voice!r}, and 'strict' allows no other: leave 'strict' out to get "
                "its default voice, or name one of its voices",
                "voice",
            )
        else:
            warnings.append(f"voice_mapped: {speaker.name} has no voice {voice!r}, its default voice speaks")
    options = asked.options or {}
    if asked.instructions:
        if not any(takes(each, "instructions") for each in serving):
            able = gateway.models.taking("instructions")
            instead = f"or use the model {' or '.join(able)}" if able else "no loaded backend takes them"
            raise Refused(f"{speaker.name} takes no instructions: leave 'instructions' out; {instead}", "instructions")
        options = {**options, "instructions": asked.instructions}
    if options:
        job_input["options"] = options
    events = asked.stream_format == "sse"
    return SpeechCall(model.endpoint.id, _encode(job_input), len(asked.input), events, tuple(warnings))


def refusal(error: InvalidInput) -> Response[bytes]:
    """Answer an error of the job API with this API's field names."""
    message = str(error)
    word, _, rest = message.partition(" ")
    if word in _RENAMED:
        return openai_error(error.status, f"{_RENAMED[word]} {rest}", "invalid_value", _RENAMED[word])
    if " has no voice " in message or " with your voice " in message:
        return openai_error(error.status, message, "invalid_value", "voice")
    return openai_error(error.status, message, error.code, word if word in _KNOWN else None)


def _decode(body: bytes, *, repair: bool) -> SpeechBody:
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
    asked = convert_fields(given, SpeechBody, "parameter")
    if isinstance(asked, Fault):
        param = asked.field if asked.kind == "unknown" else asked.field.partition(".")[0]
        raise Refused(asked.message, param[:80], _CODES[asked.kind])
    return asked


def _given(body: bytes) -> Any:
    """Decode the body's values. In a large body only the text may be large."""
    if len(body) <= MAX_VALUE_BYTES:
        return msgspec.json.decode(body)
    parts = _PARTS.read(body)
    return None if parts is None else {name: _PARTS.value(name, value) for name, value in parts.items()}


def _model(gateway: GatewayPort, name: str) -> ListedModel:
    model = gateway.models.find(name)
    if model is None:
        known = gateway.models.all()
        message = f"the model {shown(name)} does not exist{meant(name, known)}; there are: {', '.join(known)}"
        raise Refused(message, "model", "model_not_found")
    return model


def _lacks(gateway: GatewayPort, caller: Principal, voices: Any, voice: str) -> bool:
    """Return whether this is a voice of OpenAI's that neither the backend nor the tenant has."""
    if voice not in OPENAI_VOICES or any(each.name == voice for each in voices):
        return False
    return gateway.voices.find(caller.tenant, voice) is None
