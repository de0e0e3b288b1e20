"""The fast lane: answers in-memory cache hits of `/runsync` and of OpenAI's speech before there is an ASGI request.

It calls what the handler calls, in the same order: authenticate, limit, look up; and it is counted and headed as
`gateway.api.http.observe` counts and heads all others. Whatever is not a plain hit, every error included, is left to
the application, so that there is one place for each rule and each message. The connection asks it, once a request is
there whole (`gateway.api.http.connection`); under another server than `voxgate serve` the application answers hits,
too.
"""

from __future__ import annotations

import logging
import re
import time
from typing import Any

import msgspec
from msgspec import UNSET

from gateway.api.http.asgi import PIECE_BYTES, Body, Scope
from gateway.api.http.envelope import WAIT_MS, characters_of, decode_envelope
from gateway.api.http.mounts import DEFAULT_ENDPOINT
from gateway.api.http.observe import DEFAULT_LINES, Requests, request_id_of
from gateway.api.http.ports import GatewayPort
from gateway.api.http.security import ADMITTED, base_url, usable_host
from gateway.api.http.sending import pieces_of
from gateway.api.openai.errors import Refused
from gateway.api.openai.request import Wanted, translate
from gateway.api.openai.speech import SPEECH_PATH, VERB, headers_of
from gateway.cache.hot import HotTier, beside, held_by
from gateway.errors import BadRequest, TooManyRequests, VoxgateError
from gateway.jobs.answer.hot_path import HotAudio

_log = logging.getLogger(__name__)
_WAIT = re.compile(rb"wait=([1-9][0-9]{0,8})").fullmatch
_ROOT = "/runsync"
_PREFIX, _SUFFIX = "/v2/", "/runsync"
_SPEECH = SPEECH_PATH.encode()
_RUNSYNC = "runsync"

_JSON = b"content-type: application/json\r\n" + DEFAULT_LINES + b"x-request-id: %b\r\ncontent-length: %d\r\n"
_AUDIO = b"content-type: %b\r\n%b" + DEFAULT_LINES + b"x-request-id: %b\r\ncontent-length: %d\r\n"
"""The headers of the application's answers."""


def endpoint_of(path: str) -> str | None:
    """The endpoint whose `/runsync` this path is, or None."""
    if path == _ROOT:
        return DEFAULT_ENDPOINT
    if path.startswith(_PREFIX) and path.endswith(_SUFFIX) and "%" not in path:
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


TRANSLATED_SHARE = 48
OVERHEAD_BYTES = 500
MAX_BODY_BYTES = 65_536
"""Longer bodies are the application's: it reads them in a thread."""

KNOWN_SHARE = 32
ASKED_OVERHEAD_BYTES = 600


class Asked(msgspec.Struct, frozen=True):
    """A body of `/runsync` that holds an input and nothing else that matters, read once."""

    raw_input: bytes
    characters: int
    base_url: str


class FastLane:
    """Answers what can be answered at once.

    Args:
        gateway: whose access and jobs are asked.
        requests: where answers are counted.
        cors: whether CORS is on; requests with an Origin are the application's then.
    """

    def __init__(self, gateway: GatewayPort, requests: Requests, *, cors: bool) -> None:
        """Hold what it asks."""
        hot_bytes = gateway.settings.cache.hot_bytes
        self._gateway = gateway
        self._requests = requests
        self._never = {b"idempotency-key", b"content-encoding"} | ({b"origin"} if cors else set())
        self._translated: HotTier[tuple[int, Wanted]] = HotTier(beside(hot_bytes, TRANSLATED_SHARE))
        self._max_body = min(MAX_BODY_BYTES, gateway.settings.max_body_runsync_bytes)
        self._known: HotTier[Asked] = HotTier(beside(hot_bytes, KNOWN_SHARE))
        gateway.metrics.hold(lambda: self._translated.size_bytes + self._known.size_bytes)

    def __call__(self, scope: Scope, target: bytes, body: bytes | bytearray) -> tuple[bytes, Body] | None:
        """Header lines and body of the answer, whose status is 200; None: ask the application.

        Args:
            scope: of the ASGI request that is made if this gives None; its scheme and headers are read.
            target: of the request line of this POST.
            body: the whole.
        """
        started = time.perf_counter()
        if _log.isEnabledFor(logging.DEBUG):
            return None  # every answer has its line then, and the application's wrapper writes it
        path, _, query = target.partition(b"?")
        spoken = path == _SPEECH
        endpoint_id = None if spoken else endpoint_of(path.decode("latin-1"))
        if (endpoint_id is None and not spoken) or len(body) > self._max_body or not plain_query(query):
            return None
        key, host = "", b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                key = value.decode("latin-1")
            elif name == b"host":
                if host or not usable_host(value):
                    return None
                host = value
            elif name in self._never:
                return None
        try:
            caller = self._gateway.access.authenticate(key)
            self._gateway.access.require(caller, "speak")
        except VoxgateError:
            return None
        if endpoint_id is None:
            return self._speech(scope, caller, bytes(body), started)
        asked = self._read(endpoint_id, scope["scheme"], host, bytes(body))
        answer = None if asked is None else self._look_up(scope, caller, endpoint_id, asked)
        if answer is None:
            return None
        size = sum(map(len, answer))
        head = _JSON % (request_id_of(scope["headers"]), size)
        self._requests.count(_RUNSYNC, 200, time.perf_counter() - started)
        return head, b"".join(answer) if size <= PIECE_BYTES else pieces_of(answer)

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
        if raw_input is UNSET:
            return None
        asked = Asked(bytes(raw_input), characters_of(raw_input), base_url(scheme, ((b"host", host),)))
        size_bytes = held_by(endpoint_id, host, body, asked.raw_input, asked.base_url)
        self._known.put(name, asked, size_bytes + ASKED_OVERHEAD_BYTES)
        return asked

    def _look_up(self, scope: Scope, caller: Any, endpoint_id: str, asked: Asked) -> tuple[bytes, ...] | None:
        try:
            if not self._gateway.access.admit_now(caller, endpoint_id, _RUNSYNC, asked.characters):
                return None
        except TooManyRequests:
            return None
        # Counted now: the application, if it must answer after all, shall not count it again.
        scope[ADMITTED] = True
        return self._gateway.jobs.hot(caller, endpoint_id, asked.raw_input, asked.base_url)

    def _speech(self, scope: Scope, caller: Any, body: bytes, started: float) -> tuple[bytes, Body] | None:
        found = self._look_up_speech(scope, caller, body)
        if found is None:
            return None
        audio, wanted = found
        if wanted.warnings or audio.warnings:
            said = b"".join([b"%b: %b\r\n" % (n.encode(), v.encode()) for n, v in headers_of(audio, wanted).items()])
        else:
            said = b"x-voxgate-job-id: %b\r\n" % audio.job_id.encode()
        request_id = request_id_of(scope["headers"])
        head = _AUDIO % (audio.mimetype.encode(), said, request_id, len(audio.data))
        self._requests.count(VERB, 200, time.perf_counter() - started)
        return head, audio.data if len(audio.data) <= PIECE_BYTES else pieces_of((audio.data,))

    def _look_up_speech(self, scope: Scope, caller: Any, body: bytes) -> tuple[HotAudio, Wanted] | None:
        try:
            wanted = self._wanted(caller, body)
            if wanted.events:
                return None
            if not self._gateway.access.admit_now(caller, wanted.endpoint_id, VERB, wanted.characters):
                return None
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
        size_bytes = held_by(body, wanted.raw_input, wanted.endpoint_id) + len(wanted.raw_input)
        self._translated.put(name, (reading, wanted), size_bytes + OVERHEAD_BYTES)
        return wanted
