"""The outermost wrapper: request id, default headers, metrics and the log line of every answer.

The fast lane, which is no ASGI application, counts here and writes the same headers, so that an answer looks the same
whichever of them gave it.
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
"""In the ASGI scope: what to call once the request is answered, where it counts among those in flight."""

_ACCEPTABLE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}").fullmatch
_VERB = re.compile(r"/(?:v2/\{endpoint_id(?::str)?\}/?)?([a-z-]*(?:/(?:live|ready))?)").match
_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS"})

_NOSNIFF = (b"x-content-type-options", b"nosniff")
_NO_REFERRER = (b"referrer-policy", b"no-referrer")
_NO_STORE = (b"cache-control", b"no-store")
DEFAULT_LINES = b"".join(b"%b: %b\r\n" % header for header in (_NOSNIFF, _NO_REFERRER, _NO_STORE))
"""What every answer without a cache rule of its own says, as it is written."""


def verb_of(path_template: str | None) -> str:
    """The verb a route serves, as metrics and limits name it: `run`, `status`, `page`, `none` for no route."""
    if path_template is None:
        return "none"
    if path_template.rstrip("/") in ("/v2/{endpoint_id}", "/v2/{endpoint_id:str}"):
        return "endpoint"
    if path_template.startswith("/v1/"):
        return path_template.removeprefix("/v1/").partition("/{")[0].rpartition("/")[2]
    found = _VERB(path_template)
    return (found.group(1) if found else "") or "page"


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The caller's own id of its request, if it is a plain one, else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and _ACCEPTABLE_ID(value):
            return value
    return os.urandom(8).hex().encode()


class Requests:
    """Counts answers by verb and status."""

    def __init__(self, metrics: Metrics) -> None:
        """`metrics`: where they are counted."""
        self._metrics = metrics
        # `labels()` builds and looks up a tuple under a lock; a dict of what it returned costs a tenth.
        self._counters: dict[tuple[str, int], Counter] = {}
        self._timers: dict[str, Histogram] = {}

    def count(self, verb: str, status: int, seconds: float) -> None:
        """An answer was given."""
        counter = self._counters.get((verb, status))
        if counter is None:
            counter = self._counters[verb, status] = self._metrics.http_requests.labels(verb, str(status))
        counter.inc()
        timer = self._timers.get(verb)
        if timer is None:
            timer = self._timers[verb] = self._metrics.http_seconds.labels(verb)
        timer.observe(seconds)


class Observed:
    """Wrap an ASGI app.

    Args:
        app: what answers.
        requests: where requests are counted.

    Attributes:
        lane: what may answer before `app` is asked, for servers that can; see `gateway.api.fastlane`.
        early_error: makes the body of what a server refuses itself.
    """

    def __init__(self, app: App, requests: Requests, lane: Lane, early_error: EarlyError) -> None:
        """Hold what it asks."""
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
        status = 499  # nobody was there to hear an answer

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
                for piece in pieces_of((message["body"],)):  # a server holds whatever it is given at once
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
            # The query is left out: a signed address is a secret. Successes are counted above; a line for
            # each poll would bury everything else.
            log.info("refused", method=scope["method"], path=path, status=status, ms=round(seconds * 1000, 1))
        elif _plain.isEnabledFor(logging.DEBUG):  # asked first: even a line not written costs a tenth of a hit
            log.debug("answered", method=scope["method"], path=path, status=status, ms=round(seconds * 1000, 1))
