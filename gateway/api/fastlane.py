"""The fast lane: answers in-memory cache hits of `/runsync` and OpenAI's speech without an ASGI request.

It makes the same calls as the handler, in the same order: authenticate, limit, look up. Its answers are counted and get
the same headers as all others (`gateway.api.http.observe`). Every request that is not a plain hit, errors included,
goes to the application, so each rule and each message has one place. The connection calls the fast lane when a request
has arrived completely (`gateway.api.http.connection`). Under a server other than `voxgate serve`, the application
answers hits too.
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
from gateway.api.openai.request import SpeechCall, translate
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
"""Header lines, the same as in the application's answers."""


def endpoint_of(path: str) -> str | None:
    """Return the endpoint of a `/runsync` path; None for other paths."""
    if path == _ROOT:
        return DEFAULT_ENDPOINT
    if path.startswith(_PREFIX) and path.endswith(_SUFFIX) and "%" not in path:
        endpoint_id = path[len(_PREFIX) : -len(_SUFFIX)]
        if endpoint_id and "/" not in endpoint_id:
            return endpoint_id
    return None


def plain_query(query: bytes) -> bool:
    """Return whether the query is empty or a valid `wait`, which has no effect on a finished answer."""
    if not query:
        return True
    found = _WAIT(query)
    return found is not None and WAIT_MS[0] <= int(found.group(1)) <= WAIT_MS[1]


TRANSLATED_SHARE = 48
OVERHEAD_BYTES = 500
MAX_BODY_BYTES = 65_536
"""Longer bodies go to the application, which reads them in a thread."""

BODIES_SHARE = 32
BODY_OVERHEAD_BYTES = 600


class RunsyncBody(msgspec.Struct, frozen=True):
    """A decoded body of `/runsync` that has an input and no webhook, policy or s3Config."""

    raw_input: bytes
    characters: int
    base_url: str


class FastLane:
    """Answers requests that are in-memory cache hits.

    Args:
        gateway: gives access to keys, limits and jobs.
        requests: counts the answers.
        cors: whether CORS is on; then requests with an Origin go to the application.
    """

    def __init__(self, gateway: GatewayPort, requests: Requests, *, cors: bool) -> None:
        hot_bytes = gateway.settings.cache.hot_bytes
        self._gateway = gateway
        self._requests = requests
        self._refused_headers = {b"idempotency-key", b"content-encoding"} | ({b"origin"} if cors else set())
        self._translated: HotTier[tuple[int, SpeechCall]] = HotTier(beside(hot_bytes, TRANSLATED_SHARE))
        self._max_body = min(MAX_BODY_BYTES, gateway.settings.max_body_runsync_bytes)
        self._bodies: HotTier[RunsyncBody] = HotTier(beside(hot_bytes, BODIES_SHARE))
        gateway.metrics.hold(lambda: self._translated.size_bytes + self._bodies.size_bytes)

    def __call__(self, scope: Scope, target: bytes, body: bytes | bytearray) -> tuple[bytes, Body] | None:
        """Return the header lines and body of an answer with status 200; None if the application must answer.

        Args:
            scope: the scope of the ASGI request that follows if this returns None; its scheme and headers are read.
            target: the target in the request line of this POST.
            body: the whole body.
        """
        started = time.perf_counter()
        if _log.isEnabledFor(logging.DEBUG):
            return None  # at this level every answer is logged, and the application's wrapper does that
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
                if host:
                    return None
                host = value
            elif name in self._refused_headers:
                return None
        try:
            caller = self._gateway.access.authenticate(key)
            self._gateway.access.require(caller, "speak")
        except VoxgateError:
            return None
        if endpoint_id is None:
            return self._speech(scope, caller, bytes(body), started) if not host or usable_host(host) else None
        decoded = self._read(endpoint_id, scope["scheme"], host, bytes(body))
        answer = None if decoded is None else self._look_up(scope, caller, endpoint_id, decoded)
        if answer is None:
            return None
        size = sum(map(len, answer))
        head = _JSON % (request_id_of(scope["headers"]), size)
        self._requests.count(_RUNSYNC, 200, time.perf_counter() - started)
        return head, answer if size <= PIECE_BYTES else pieces_of(answer)

    def _read(self, endpoint_id: str, scheme: str, host: bytes, body: bytes) -> RunsyncBody | None:
        """Decode the body, or take it from memory if the same body came before; None: not for the fast lane."""
        name = (endpoint_id, scheme, host, body)
        decoded = self._bodies.get(name)
        if decoded is not None:
            return decoded
        if host and not usable_host(host):
            return None
        try:
            envelope = decode_envelope(body)
        except BadRequest:
            return None
        if envelope.webhook is not None or envelope.policy is not None or envelope.s3Config is not UNSET:
            return None
        raw_input = envelope.input
        if raw_input is UNSET:
            return None
        decoded = RunsyncBody(bytes(raw_input), characters_of(raw_input), base_url(scheme, ((b"host", host),)))
        size_bytes = held_by(endpoint_id, host, body, decoded.raw_input, decoded.base_url)
        self._bodies.put(name, decoded, size_bytes + BODY_OVERHEAD_BYTES)
        return decoded

    def _look_up(self, scope: Scope, caller: Any, endpoint_id: str, decoded: RunsyncBody) -> tuple[bytes, ...] | None:
        try:
            if not self._gateway.access.admit_now(caller, endpoint_id, _RUNSYNC, decoded.characters):
                return None
        except TooManyRequests:
            return None
        # The request is counted now. If the application must answer after all, it must not count it again.
        scope[ADMITTED] = True
        return self._gateway.jobs.hot(caller, endpoint_id, decoded.raw_input, decoded.base_url)

    def _speech(self, scope: Scope, caller: Any, body: bytes, started: float) -> tuple[bytes, Body] | None:
        found = self._look_up_speech(scope, caller, body)
        if found is None:
            return None
        audio, call = found
        if call.warnings or audio.warnings:
            lines = b"".join([b"%b: %b\r\n" % (n.encode(), v.encode()) for n, v in headers_of(audio, call).items()])
        else:
            lines = b"x-voxgate-job-id: %b\r\n" % audio.job_id.encode()
        request_id = request_id_of(scope["headers"])
        head = _AUDIO % (audio.mimetype.encode(), lines, request_id, len(audio.data))
        self._requests.count(VERB, 200, time.perf_counter() - started)
        parts = (audio.data,)
        return head, parts if len(audio.data) <= PIECE_BYTES else pieces_of(parts)

    def _look_up_speech(self, scope: Scope, caller: Any, body: bytes) -> tuple[HotAudio, SpeechCall] | None:
        try:
            call = self._translate(caller, body)
            if call.events:
                return None
            if not self._gateway.access.admit_now(caller, call.endpoint_id, VERB, call.characters):
                return None
        except (Refused, VoxgateError):
            return None
        scope[ADMITTED] = True
        found = self._gateway.jobs.hot_audio(caller, call.endpoint_id, call.raw_input)
        return None if found is None else (found, call)

    def _translate(self, caller: Any, body: bytes) -> SpeechCall:
        """Translate the body, or take the result from memory if the same body came before."""
        name = (caller.tenant, body)
        known = self._translated.get(name)
        generation = self._gateway.jobs.generation
        if known is not None and known[0] == generation:
            return known[1]
        call = translate(self._gateway, caller, body)
        size_bytes = held_by(body, call.raw_input, call.endpoint_id) + len(call.raw_input)
        self._translated.put(name, (generation, call), size_bytes + OVERHEAD_BYTES)
        return call
