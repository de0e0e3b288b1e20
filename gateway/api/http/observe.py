"""The outermost ASGI wrapper: adds the request id and default headers, counts every answer, and logs it.

The fast lane, which is no ASGI application, uses the same counters and headers, so that both give the same answers.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import structlog

from gateway.api.http.asgi import PIECE_BYTES, App, EarlyError, Lane, Message, Receive, Scope, Send
from gateway.api.http.sending import pieces_of
from gateway.metrics import Metrics
from gateway.settings.logs import get_logger

if TYPE_CHECKING:
    from prometheus_client import Counter, Histogram

log = get_logger(__name__)
_plain = logging.getLogger(__name__)

LEAVE = "voxgate.leave"
"""The key in the ASGI scope of a function to call once the request is answered, if it is counted as in flight."""

_ACCEPTABLE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}").fullmatch
_VERB = re.compile(r"/(?:v2/\{endpoint_id(?::str)?\}/?)?([a-z-]*(?:/(?:live|ready))?)").match

_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_REFERRER = (b"referrer-policy", b"no-referrer")
_NO_STORE = (b"cache-control", b"no-store")
DEFAULT_LINES = b"".join(b"%b: %b\r\n" % header for header in (_NOSNIFF, _NO_REFERRER, _NO_STORE))
"""Header lines of every answer that sets no Cache-Control itself."""


def verb_of(path_template: str | None) -> str:
    """Return a route's verb, as metrics and limits name it: `run`, `status`, `page`, or `none` for no route."""
    if path_template is None:
        return "none"
    if path_template.rstrip("/") in ("/v2/{endpoint_id}", "/v2/{endpoint_id:str}"):
        return "endpoint"
    if path_template.startswith("/v1/"):
        return path_template.removeprefix("/v1/").partition("/{")[0].rpartition("/")[2]
    found = _VERB(path_template)
    return (found.group(1) if found else "") or "page"


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the caller's own request id if it has plain characters, or else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and _ACCEPTABLE_ID(value):
            return value
    return os.urandom(8).hex().encode()


class Requests:
    """Counts answers by verb and status."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # `labels()` builds and looks up a tuple under a lock. A dict of its results costs a tenth of that.
        self._counters: dict[tuple[str, int], Counter] = {}
        self._timers: dict[str, Histogram] = {}

    def count(self, verb: str, status: int, seconds: float) -> None:
        """Count an answer and its duration."""
        counter = self._counters.get((verb, status))
        if counter is None:
            counter = self._counters[verb, status] = self._metrics.http_requests.labels(verb, str(status))
        counter.inc()
        timer = self._timers.get(verb)
        if timer is None:
            timer = self._timers[verb] = self._metrics.http_seconds.labels(verb)
        timer.observe(seconds)


class Observed:
    """Wraps an ASGI app.

    Args:
        app: the application that answers.
        requests: counts the answers.

    Attributes:
        lane: may answer before `app` does, for servers that support it; see `gateway.api.fastlane`.
        early_error: makes the body of an error that the server itself answers.
    """

    def __init__(self, app: App, requests: Requests, lane: Lane, early_error: EarlyError) -> None:
        self._app = app
        self._requests = requests
        self._verbs: dict[str | None, str] = {}
        self.lane = lane
        self.early_error = early_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass on the lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = request_id_of(scope["headers"])
        id_text = request_id.decode()
        state = scope.setdefault("state", {})
        state["request_id"] = id_text
        structlog.contextvars.bind_contextvars(request_id=id_text)
        path = scope["path"]
        status = 499  # stays so if the caller disconnects before the answer

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], _NOSNIFF, _NO_REFERRER, (b"x-request-id", request_id)]
                for name, _ in headers:
                    if name == b"cache-control":
                        break
                else:
                    headers.append(_NO_STORE)
                message["headers"] = headers
            elif len(message.get("body", b"")) > PIECE_BYTES:
                for piece in pieces_of((message["body"],)):  # a server would hold a large message whole
                    await send({"type": message["type"], "body": piece, "more_body": True})
                message["body"] = b""
            await send(message)

        try:
            await self._app(scope, receive, send_observed)
        except BaseException:
            status = 500 if status == 499 else status
            raise
        finally:
            if (leave := scope.get(LEAVE)) is not None:
                leave()
            self._observe(scope, path, status, time.perf_counter() - started)

    def _observe(self, scope: Scope, path: str, status: int, seconds: float) -> None:
        template: str | None = scope.get("path_template")
        verb = self._verbs.get(template)
        if verb is None:
            verb = self._verbs[template] = verb_of(template)
        self._requests.count(verb, status, seconds)
        if status >= 400:
            # The query is left out, because a signed URL is a secret. Successes are only counted: a line for each
            # poll would hide all other lines.
            log.info("refused", method=scope["method"], path=path, status=status, ms=round(seconds * 1000, 1))
        elif _plain.isEnabledFor(
            logging.DEBUG
        ):  # checked first: even a line that is not written costs a tenth of a hit
            log.debug("answered", method=scope["method"], path=path, status=status, ms=round(seconds * 1000, 1))
