"""The fast lane: answers in-memory cache hits of `/runsync` and of OpenAI's speech before Litestar is asked.

It calls what the handler calls, in the same order: authenticate, limit, look up; the wrapper around it observes.
Whatever is not a plain hit, every error included, is replayed into the application with the body it has read, so
that there is one place for each rule and each message.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import UNSET

from gateway.api.asgi import App, Message, Receive, Scope, Send
from gateway.api.envelope import WAIT_MS, characters_of, decode_envelope
from gateway.api.jobs import DEFAULT_ENDPOINT
from gateway.api.openai import SPEECH_PATH, VERB, headers_of
from gateway.api.openai_errors import Refused
from gateway.api.openai_request import Wanted, translate
from gateway.api.ports import Gateway
from gateway.api.security import ADMITTED, base_url
from gateway.cache.hot import HotTier
from gateway.errors import BadRequest, TooManyRequests, VoxgateError
from gateway.jobs.hits import HotAudio

_WAIT = re.compile(rb"wait=([0-9]{1,9})").fullmatch
_JSON = (b"content-type", b"application/json")
_ROOT = "/runsync"
_PREFIX, _SUFFIX = "/v2/", "/runsync"


def endpoint_of(path: str) -> str | None:
    """The endpoint whose `/runsync` this path is, or None."""
    if path == _ROOT:
        return DEFAULT_ENDPOINT
    if path.startswith(_PREFIX) and path.endswith(_SUFFIX):
        endpoint_id = path[len(_PREFIX) : -len(_SUFFIX)]
        if endpoint_id and "/" not in endpoint_id:
            return endpoint_id
    return None


def plain_query(query: bytes) -> bool:
    """Whether the query is empty or a `wait` within its range, which a finished answer need not look at."""
    if not query:
        return True
    found = _WAIT(query)
    return found is not None and WAIT_MS[0] <= int(found.group(1)) <= WAIT_MS[1]


TRANSLATED_BYTES = 4_000_000
OVERHEAD_BYTES = 500
MAX_BODY_BYTES = 65_536
"""Longer bodies are the application's: it reads them in a thread."""

KNOWN_BYTES = 4_000_000
ASKED_OVERHEAD_BYTES = 600


class Asked(msgspec.Struct, frozen=True):
    """A body of `/runsync` that holds an input and nothing else that matters, read once."""

    raw_input: bytes
    characters: int
    base_url: str


class FastLane:
    """Wrap the application.

    Args:
        app: what everything else is replayed into.
        gateway: whose access and jobs are asked.
        cors: whether CORS is on; requests with an Origin are the application's then.
    """

    def __init__(self, app: App, gateway: Gateway, *, cors: bool) -> None:
        """Hold what it asks."""
        self._app = app
        self._gateway = gateway
        self._never = {b"idempotency-key", b"origin"} if cors else {b"idempotency-key"}
        self._translated: HotTier[tuple[int, Wanted]] = HotTier(TRANSLATED_BYTES)
        self._max_body = min(MAX_BODY_BYTES, gateway.settings.max_body_runsync_bytes)
        self._known: HotTier[Asked] = HotTier(KNOWN_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a hit, or pass the request on untouched."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        spoken = scope["path"] == SPEECH_PATH
        endpoint_id = None if spoken else endpoint_of(scope["path"])
        if (endpoint_id is None and not spoken) or not plain_query(scope["query_string"]):
            await self._app(scope, receive, send)
            return
        key, host = "", b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                key = value.decode("latin-1")
            elif name == b"host":
                host = value
            elif name in self._never or (name == b"content-length" and not self._acceptable(value)):
                await self._app(scope, receive, send)
                return
        try:
            caller = self._gateway.access.authenticate(key)
            self._gateway.access.require(caller, "speak")
        except VoxgateError:
            await self._app(scope, receive, send)
            return
        first = await receive()
        if first["type"] == "http.request" and not first.get("more_body", False):
            body = first.get("body", b"")
            if endpoint_id is not None:
                asked = self._read(endpoint_id, scope["scheme"], host, body)
                answer = None if asked is None else self._look_up(scope, caller, endpoint_id, asked)
                if answer is not None:
                    await self._answer(scope, send, answer)
                    return
            elif (found := self._look_up_speech(scope, caller, body)) is not None:
                scope["path_template"] = SPEECH_PATH
                audio, wanted = found
                headers = {"content-type": audio.mimetype} | headers_of(audio, wanted)
                await _send(send, audio.data, [(name.encode(), value.encode()) for name, value in headers.items()])
                return
        await self._app(scope, _replay(first, receive), send)

    def _acceptable(self, length: bytes) -> bool:
        return length.isdigit() and int(length) <= self._max_body

    def _read(self, endpoint_id: str, scheme: str, host: bytes, body: bytes) -> Asked | None:
        """What the body asks for, from memory where this very body was read before; None: not for the fast lane."""
        name = (endpoint_id, scheme, host, body)
        asked = self._known.get(name)
        if asked is not None:
            return asked
        try:
            envelope = decode_envelope(body)
        except BadRequest:
            return None
        if envelope.webhook is not None or envelope.policy is not None or envelope.s3Config is not UNSET:
            return None
        raw_input = envelope.input
        if raw_input is UNSET or len(body) > self._max_body:
            return None
        asked = Asked(bytes(raw_input), characters_of(raw_input), base_url(scheme, ((b"host", host),)))
        self._known.put(name, asked, 3 * len(body) + ASKED_OVERHEAD_BYTES)
        return asked

    def _look_up(self, scope: Scope, caller: Any, endpoint_id: str, asked: Asked) -> bytes | None:
        try:
            self._gateway.access.admit(caller, endpoint_id, "runsync", asked.characters)
        except TooManyRequests:
            return None
        # Counted now: the application, if it must answer after all, shall not count it again.
        scope[ADMITTED] = True
        return self._gateway.jobs.hot(caller, endpoint_id, asked.raw_input, asked.base_url)

    def _look_up_speech(self, scope: Scope, caller: Any, body: bytes) -> tuple[HotAudio, Wanted] | None:
        if len(body) > self._max_body:
            return None
        try:
            wanted = self._wanted(caller, body)
            if wanted.events:
                return None
            self._gateway.access.admit(caller, wanted.endpoint_id, VERB, wanted.characters)
        except (Refused, VoxgateError):
            return None
        scope[ADMITTED] = True
        found = self._gateway.jobs.hot_audio(caller, wanted.endpoint_id, wanted.raw_input)
        return None if found is None else (found, wanted)

    def _wanted(self, caller: Any, body: bytes) -> Wanted:
        """What `translate` makes of the body, from memory where it was asked before."""
        name = (caller.tenant, body)
        known = self._translated.get(name)
        reading = self._gateway.jobs.reading
        if known is not None and known[0] == reading:
            return known[1]
        wanted = translate(self._gateway, caller, body)
        self._translated.put(name, (reading, wanted), 2 * len(body) + len(wanted.raw_input) + OVERHEAD_BYTES)
        return wanted

    async def _answer(self, scope: Scope, send: Send, answer: bytes) -> None:
        template = _ROOT if scope["path"] == _ROOT else "/v2/{endpoint_id}/runsync"
        scope["path_template"] = template
        await _send(send, answer, [_JSON])


async def _send(send: Send, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _replay(first: Message, receive: Receive) -> Receive:
    """A receive that gives what was read already, then goes on where it stopped."""
    pending = [first]

    async def replayed() -> Message:
        return pending.pop() if pending else await receive()

    return replayed
