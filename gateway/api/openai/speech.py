"""OpenAI's speech API: `POST /v1/audio/speech` and the models. Audio is sent while it is being spoken."""

from __future__ import annotations

import asyncio
import base64
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Literal, TypeAlias

import msgspec
from litestar import Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, RawBody

from gateway.api.http.answers import disconnected, json_response
from gateway.api.http.errors import CLIENT_GONE
from gateway.api.http.openapi import succeeds
from gateway.api.http.security import ADMITTED, Caller, Core
from gateway.api.http.sending import MadeBody, PiecewiseResponse
from gateway.api.openai.errors import OpenAIError, OpenAIErrorAnswer, Refused, error_of, openai_error
from gateway.api.openai.request import SpeechCall, read_speech_call, refusal
from gateway.errors import InvalidInput, VoxgateError, code_of, status_of, status_of_code
from gateway.jobs.answer.hot_path import HotAudio
from gateway.jobs.live import JobEnded, Listening, Whole

Leave: TypeAlias = Callable[[], Awaitable[None]]

SPEECH_PATH = "/v1/audio/speech"
VERB = "speech"


class ModelInfo(msgspec.Struct, frozen=True):
    """A model: an endpoint, a backend, or a model name of OpenAI's for the endpoint `default`."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "voxgate"


class ModelList(msgspec.Struct, frozen=True):
    """All names that `model` may have."""

    data: tuple[ModelInfo, ...]
    object: Literal["list"] = "list"


class SpeechUsage(msgspec.Struct, frozen=True):
    """The amount of speech. Tokens are estimates for clients that show them: four characters, or 50 ms of audio."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    characters: int
    audio_ms: int


class SpeechDone(msgspec.Struct, frozen=True):
    """The last event of a complete stream."""

    usage: SpeechUsage
    type: Literal["speech.audio.done"] = "speech.audio.done"


class SpeechError(msgspec.Struct, frozen=True):
    """The last event of a stream that breaks off."""

    error: OpenAIError
    type: Literal["error"] = "error"


def _fails(errors: Mapping[int, str]) -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(OpenAIErrorAnswer, generate_examples=False, description=words)
        for status, words in sorted(errors.items())
    }


_KEY_ERRORS = {401: "The key is missing or not valid.", 403: "The key lacks a scope."}


@post(
    "/audio/speech",
    operation_id="speech",
    status_code=200,
    responses={
        **succeeds(bytes, words="The audio, as it is spoken.", media_type="audio/*"),
        **_fails(
            _KEY_ERRORS
            | {
                400: "The request is not valid; `param` names the field.",
                404: "No such model.",
                413: "The body is too large.",
                429: "A limit is reached; Retry-After gives the time to wait.",
                500: "A defect of the server.",
                502: "The engine failed.",
                503: "The server cannot take the request now, or no engine could be loaded.",
                504: "The engine took too long.",
            }
        ),
    },
)
async def speech(request: Request[Any, Any, Any], gateway: Core, caller: Caller, body: RawBody) -> Response[Any]:
    """Speak, and send the audio while it is being spoken."""
    call = await read_speech_call(gateway, caller, body)
    if ADMITTED not in request.scope:
        await gateway.access.admit(caller, call.endpoint_id, VERB, call.characters)
    live = gateway.live
    gone = asyncio.ensure_future(disconnected(request))
    begun = asyncio.ensure_future(live.begin(caller, call.endpoint_id, call.raw_input))
    answer: Response[Any] | None = None
    try:
        await asyncio.wait({begun, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not begun.done():
            return openai_error(CLIENT_GONE, "the client disconnected")
        spoken = begun.result()
        leave = partial(live.leave, caller, call.endpoint_id, spoken.job_id)
        answer = _answer(spoken, call, gone, leave)
        return answer
    except InvalidInput as error:
        return refusal(error)
    except JobEnded as error:
        return openai_error(status_of_code(error.job_code), str(error), error.job_code)
    finally:
        if answer is None:
            gone.cancel()
            begun.cancel()  # this cancels its job too
            await asyncio.wait({begun})
        # An exception of `begun` holds this frame in its traceback. Without the `del`, that reference cycle would keep
        # the request until the next garbage collection.
        del begun, gone


@get("/models", operation_id="models", responses={**succeeds(ModelList), **_fails(_KEY_ERRORS)})
async def models(gateway: Core) -> Response[bytes]:
    """List the names that `model` may have."""
    return json_response(ModelList(tuple(ModelInfo(name) for name in gateway.models.all())))


@get(
    "/models/{model:str}",
    operation_id="model",
    responses={**succeeds(ModelInfo), **_fails({**_KEY_ERRORS, 404: "No such model."})},
)
async def one_model(gateway: Core, model: FromPath[str]) -> Response[bytes]:
    """Get one model."""
    if gateway.models.find(model) is None:
        raise Refused(f"the model {model[:80]!r} does not exist", "model", "model_not_found")
    return json_response(ModelInfo(model))


def headers_of(spoken: Whole | Listening | HotAudio, call: SpeechCall) -> dict[str, str]:
    """Build the headers of an answer with audio: the job's id, and the warnings if there are any."""
    headers = {"x-voxgate-job-id": spoken.job_id}
    if call.warnings or spoken.warnings:
        warnings = (*call.warnings, *(f"{code}: {message}" for code, message in spoken.warnings))
        headers["x-voxgate-warning"] = "; ".join(warnings).encode("ascii", "replace").decode()
    return headers


def _answer(spoken: Whole | Listening, call: SpeechCall, gone: asyncio.Future[None], leave: Leave) -> Response[Any]:
    headers = headers_of(spoken, call)
    if isinstance(spoken, Whole):
        pieces = spoken.audio.read(0, spoken.audio.size_bytes - 1)
        if not call.events:
            headers["content-length"] = str(spoken.audio.size_bytes)
    else:
        pieces = spoken.pieces()
    mimetype = "text/event-stream" if call.events else spoken.mimetype
    made = MadeBody(_events(pieces, spoken) if call.events else pieces, gone, leave)
    return PiecewiseResponse(made, {"content-type": mimetype} | headers)


async def _events(pieces: AsyncGenerator[bytes, None], spoken: Whole | Listening) -> AsyncGenerator[bytes, None]:
    """Yield the audio as server-sent events. An error is the last event before the stream breaks off."""
    try:
        async for piece in pieces:
            audio = base64.b64encode(piece)
            yield b'data: {"type":"speech.audio.delta","audio":"' + audio + b'"}\n\n'
    except (JobEnded, VoxgateError) as error:
        code, status = _named(error)
        yield _event(SpeechError(error_of(status, str(error), code)))
        raise
    finally:
        await pieces.aclose()
    tokens = math.ceil(spoken.characters / 4), math.ceil(spoken.audio_ms / 50)
    usage = SpeechUsage(*tokens, sum(tokens), spoken.characters, spoken.audio_ms)
    yield _event(SpeechDone(usage))


def _event(event: msgspec.Struct) -> bytes:
    return b"data: " + msgspec.json.encode(event) + b"\n\n"


def _named(error: JobEnded | VoxgateError) -> tuple[str, int]:
    if isinstance(error, JobEnded):
        return error.job_code, status_of_code(error.job_code)
    return code_of(error), status_of(error)
