"""uvicorn's connection with a fast lane, and with limits on the size and speed of requests and answers.

uvicorn with httptools keeps all bytes before the end of the headers, for any time, and all bytes after the last chunk
of a body. Here headers have a limit of size and time, chunk sizes and trailers a limit of size, and a body must arrive,
and an answer must be read, at a minimum rate. A caller may wait for an answer for any time. Trailers are dropped (RFC
9110, 6.5.1), so that they cannot be taken for headers. An offer to upgrade is ignored (RFC 9110, 7.8), and the request
is read as if it had none; httptools alone would take the body for the other protocol.

uvicorn gives no guarantee for the class that is extended here, so pyproject.toml sets an upper bound on its version.

A complete POST goes to the fast lane first. An answer from there needs no task, no events and no ASGI messages, which
cost more than the answer itself (benchmarks/NOTES.md). Every other request goes the normal way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, Literal, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.api.http.transport import CountingTransport, ReadRate
from gateway.settings.logs import get_logger

log = get_logger("voxgate.connection")

_Part = Literal["nothing", "head", "body", "whole"]
Lane = Callable[[Any, bytes, bytearray], tuple[bytes, tuple[bytes, ...] | Iterator[memoryview]] | None]
EarlyError = Callable[[bytes, int, str], bytes]


def _ignore(size_bytes: int) -> None:
    """Ignore received bytes."""


class Connection(HttpToolsProtocol):
    """The connection of one caller.

    Attributes:
        MAX_HEAD_BYTES: the most bytes of the request line and headers, and of chunk sizes and trailers without a byte
            of content between them. Checked between reads, which bring up to 256 KB at once.
        HEAD_S: seconds within which the headers must be complete, from the connection or from their first byte.
        GRACE_S: seconds after which a body must arrive, and a waiting answer must be read, at LEAST_BYTES_S.
        LEAST_BYTES_S: the minimum rate, in bytes per second.
        STALL_S: seconds within which some bytes of a waiting answer must be read.
        LOOK_S: seconds between two checks of these times.
    """

    MAX_HEAD_BYTES: ClassVar[int] = 65_536
    HEAD_S: ClassVar[float] = 20.0
    GRACE_S: ClassVar[float] = 30.0
    LEAST_BYTES_S: ClassVar[float] = 1_000.0
    STALL_S: ClassVar[float] = 60.0
    LOOK_S: ClassVar[float] = 5.0

    def __init__(
        self, *args: Any, lane: Lane, early_error: EarlyError, received: Callable[[int], None] = _ignore, **others: Any
    ) -> None:
        """Create the connection as uvicorn does.

        Args:
            lane: may answer a POST, given its scope, target and body.
            early_error: makes the JSON of an error, given the target so far, the status and the message.
            received: called with the number of bytes that have arrived.
        """
        super().__init__(*args, **others)
        self.url = b""
        self._lane = lane
        self._early_error = early_error
        self._count = received
        self._held: bytearray | None = None
        """The body so far of a POST that is held back for the fast lane; None if no request is."""
        self._answering: RequestResponseCycle | None = None
        self._ready: Any = None

    def connection_made(self, transport: Any) -> None:
        """Start the checks of a new connection."""
        self._counted = CountingTransport(transport)
        super().connection_made(cast(Any, self._counted))
        self._read_rate = ReadRate(self.STALL_S, self.GRACE_S, self.LEAST_BYTES_S)
        self._part: _Part = "nothing"
        self._since = self.loop.time()
        self._received = 0
        self._around_bytes = 0
        self._schedule_check()

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify every request of the connection. uvicorn notifies only the last one."""
        for cycle in (self._answering, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received bytes. Refuse headers or trailers that are too large."""
        self._unset_keepalive_if_required()
        size = len(data)
        self._count(size)
        self._received += size
        self._around_bytes += size
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as stopped:
            self._read_again(data, stopped)
        except HttpParserError:
            self.send_400_response("")
        if self._held is not None:
            self._skip_fast_lane()
        if self._part == "head" and self._received > self.MAX_HEAD_BYTES:
            self._refuse(431, f"the request line and headers are too large; at most {self.MAX_HEAD_BYTES} bytes")
        elif self._part == "body" and self._around_bytes > self.MAX_HEAD_BYTES:
            self._refuse(431, f"the trailers or chunk extensions are too large; at most {self.MAX_HEAD_BYTES} bytes")

    def _read_again(self, data: bytes, stopped: HttpParserUpgrade) -> None:
        """Go on behind offers to upgrade, at each of which the parser stops."""
        try:
            while self._part == "head":  # else it is CONNECT, and whatever follows is not ours to read
                data = self._without_upgrade() + data[stopped.args[0] :]
                try:
                    self.parser.feed_data(data)
                    return
                except HttpParserUpgrade as again:
                    stopped = again
        except HttpParserError:
            self.send_400_response("")

    def _without_upgrade(self) -> bytes:
        """Write the head just read without its offer to upgrade, and make a new parser, which will not stop at it."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        lines = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        return b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(lines))

    def on_message_begin(self) -> None:
        """Begin a request at its first byte."""
        self._unset_keepalive_if_required()  # it is set if the request before came in the same packet
        super().on_message_begin()
        self._begin("head")

    def on_headers_complete(self) -> None:
        """Begin the body, and hold the request back if the fast lane may answer it."""
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            return  # the head is parsed again, see `_without_upgrade`
        if self._fast_lane_allowed():
            self._held = bytearray()
        else:
            self._check_host()
            super().on_headers_complete()
        self.headers = []  # of trailers, which are dropped; those of the head stay in the scope
        self._begin("body")

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of the body, or keep it for the fast lane."""
        self._around_bytes = 0
        if self._held is None:
            super().on_body(body)
        else:
            self._held += body

    def on_message_complete(self) -> None:
        """End the request, and answer it from the fast lane if it was held back."""
        if self._part == "head":  # a request that offers to upgrade; it is parsed again
            return
        self._part = "whole"
        if self._held is not None:
            try:
                answer = self._lane(self.scope, self.url, self._held)
            except Exception:
                # The parser calls this method and would report the exception as the caller's error.
                log.exception("fast_lane_crashed")
                answer = None
            if answer is not None:
                head, body = answer
                if isinstance(body, tuple):
                    self._held = None
                    self._answer(head, body)
                    return
                self._ready = partial(_in_pieces, head, body)
            self._start_request()
        super().on_message_complete()

    def _fast_lane_allowed(self) -> bool:
        """Return whether this is a plain POST, and no request before it on this connection still waits."""
        parser = self.parser
        return (
            parser.get_method() == b"POST"
            and (self.cycle is None or self.cycle.response_complete)
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and not self.flow.write_paused
        )

    def _skip_fast_lane(self) -> None:
        """Start a held request whose body is not complete after a read; drop it if it was refused."""
        if self.transport.is_closing():
            self._held = None
            return
        try:
            self._start_request()
        except HttpParserError:  # a bad target; called from the parser, uvicorn would handle this itself
            self.send_400_response("")

    def _start_request(self) -> None:
        """Start the held request in the application, with the body so far."""
        self._check_host()
        held, self._held = self._held, None
        self.expect_100_continue = False  # it was; a trailer may have changed that
        super().on_headers_complete()
        if held:
            super().on_body(bytes(held))

    def _check_host(self) -> None:
        """Refuse a request with several Host headers; the fast lane leaves those alone."""
        if [name for name, _ in self.scope["headers"]].count(b"host") > 1:
            self._refuse(400, "there are several Host headers: send one (RFC 9112, 3.2)")
            raise HttpParserError("several Host headers")  # or what follows in the packet would be read

    def _answer(self, head: bytes, parts: tuple[bytes, ...]) -> None:
        lines = [STATUS_LINE[200]]
        for name, value in self.server_state.default_headers:
            lines += (name, b": ", value, b"\r\n")
        self.transport.write(b"".join((*lines, head, b"\r\n", *parts)))
        self.on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse bytes that are not HTTP."""
        self._refuse(400, "this is not HTTP/1.1 as RFC 9112 has it: look at the request line, headers and chunk sizes")

    def _begin(self, part: _Part) -> None:
        self._part = part
        self._since = self.loop.time()
        self._received = self._around_bytes = 0

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        ready, self._ready = self._ready, None
        super()._start_asgi_task(cycle, ready or app)

    def _schedule_check(self) -> None:
        self.loop.call_later(self.LOOK_S, self._check_times)

    def _check_times(self) -> None:
        if self.parser is None:  # the connection is closed
            return
        now = self.loop.time()
        if self._read_rate.is_too_low(self._counted, now):
            log.info("answer_not_read", waiting_bytes=self._counted.waiting_bytes, sent_bytes=self._counted.sent_bytes)
            self._counted.abort()  # `close` would wait until the answer is read
            return
        seconds = now - self._since
        if self.transport.is_closing():
            pass
        elif self._part in ("nothing", "head"):
            if seconds > self.HEAD_S:
                self._refuse(408, f"the request line and headers did not come within {self.HEAD_S:g} seconds")
        elif (
            self._part == "body"
            and not self.flow.read_paused  # then the server is slow, not the sender
            and self._received < (seconds - self.GRACE_S) * self.LEAST_BYTES_S
        ):
            self._refuse(408, f"the body came at less than {self.LEAST_BYTES_S:g} bytes per second")
        self._schedule_check()

    def _refuse(self, status: int, message: str) -> None:
        """Answer with an error, unless another answer is being sent, and close the connection."""
        cycle = self.cycle
        answering = cycle is not None and cycle.response_started and not cycle.response_complete
        answered = self._held is None and cycle is not None and cycle.response_complete and self._part == "body"
        waiting = cycle is not None and not cycle.response_started and self._part != "body"
        if not (answering or answered or waiting or self.transport.is_closing()):
            body = self._early_error(self.url, status, message)
            head = (
                b"content-type: application/json\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
            )
            self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()


async def _in_pieces(head: bytes, pieces: Iterator[memoryview], scope: Any, receive: Any, send: Any) -> None:
    """Send a large, ready answer in pieces, as its reader takes them. Stands in for the application."""
    headers = [tuple(line.split(b": ", 1)) for line in head.splitlines()]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
