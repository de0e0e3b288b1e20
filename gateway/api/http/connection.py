"""A connection as uvicorn has it, with a fast lane, and an end to how much and how slowly a caller may send or read.

uvicorn with httptools keeps whatever comes before the empty line that ends the headers, for as long as it takes, and
what follows the last chunk of a body. Here headers have a size and a time, what stands around a body a size, a body has
to come and an answer to be read at some rate; a caller who waits for an answer may wait on. Trailers are dropped (RFC
9110, 6.5.1): they must not pass for headers. An offer to upgrade is ignored (RFC 9110, 7.8), and the request is read
as if it were not there; httptools by itself takes the body for the other protocol.

uvicorn promises nothing about the class this one extends, so pyproject.toml bounds its version from above.

A POST that came whole is shown to the fast lane first. What that can answer needs no task, no events and no ASGI
messages, which cost more than the answer (benchmarks/NOTES.md); all else goes on as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar, Literal, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from gateway.api.http.outflow import Outflow, Patience
from gateway.settings.logs import get_logger

log = get_logger("voxgate.connection")

_Part = Literal["nothing", "head", "body", "whole"]
Lane = Callable[[Any, bytes, bytearray], tuple[bytes, bytes | Iterator[memoryview]] | None]
EarlyError = Callable[[bytes, int, str], bytes]


def _nobody(size_bytes: int) -> None:
    """Hear of bytes that nobody counts."""


class Connection(HttpToolsProtocol):
    """One caller's connection.

    Attributes:
        MAX_HEAD_BYTES: of the request line and headers, and of what comes of a body without a byte of its content
            (sizes of chunks, trailers); looked at between reads, which bring up to 256 KB at once.
        HEAD_S: within which they are there, counted from the connection or from their first byte.
        GRACE_S: after which a body must have come, and an answer that waits must have left, at LEAST_BYTES_S.
        STALL_S: within which some of an answer that waits must leave.
        LOOK_S: how often time is looked at.
    """

    MAX_HEAD_BYTES: ClassVar[int] = 65_536
    HEAD_S: ClassVar[float] = 20.0
    GRACE_S: ClassVar[float] = 30.0
    LEAST_BYTES_S: ClassVar[float] = 1_000.0
    STALL_S: ClassVar[float] = 60.0
    LOOK_S: ClassVar[float] = 5.0

    def __init__(
        self, *args: Any, lane: Lane, early_error: EarlyError, received: Callable[[int], None] = _nobody, **others: Any
    ) -> None:
        """As uvicorn makes it.

        Args:
            lane: may answer a POST, given its scope, target and body.
            early_error: makes the JSON of an error, given the target as far as it came, the status and the message.
            received: is told how many bytes have come.
        """
        super().__init__(*args, **others)
        self.url = b""
        self._lane = lane
        self._early_error = early_error
        self._count = received
        self._held: bytearray | None = None
        self._answering: RequestResponseCycle | None = None
        self._ready: Any = None

    def connection_made(self, transport: Any) -> None:
        """A caller is there."""
        self._outflow = Outflow(transport)
        super().connection_made(cast(Any, self._outflow))
        self._patience = Patience(self.STALL_S, self.GRACE_S, self.LEAST_BYTES_S)
        self._part: _Part = "nothing"
        self._since = self.loop.time()
        self._received = 0
        self._around_bytes = 0
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request of the connection, not only the last one as uvicorn does."""
        for cycle in (self._answering, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, but for a head or trailers without an end."""
        self._unset_keepalive_if_required()
        self._count(len(data))
        self._received += len(data)
        self._around_bytes += len(data)
        self._parse(data)
        if self._held is not None:
            self._go_on()
        if self._part == "head" and self._received > self.MAX_HEAD_BYTES:
            self._refuse(431, f"the request line and headers are too large; at most {self.MAX_HEAD_BYTES} bytes")
        elif self._part == "body" and self._around_bytes > self.MAX_HEAD_BYTES:
            self._refuse(431, f"the trailers or chunk extensions are too large; at most {self.MAX_HEAD_BYTES} bytes")

    def _parse(self, data: bytes) -> None:
        try:
            while True:
                try:
                    self.parser.feed_data(data)
                    return
                except HttpParserUpgrade as stopped:
                    if self._part != "head":  # CONNECT: whatever follows is not ours to read
                        return
                    data = self._without_upgrade() + data[stopped.args[0] :]
        except HttpParserError:
            self.send_400_response("")

    def _without_upgrade(self) -> bytes:
        """The head that has just been read, without its offer to upgrade, for a parser that has not stopped at it."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        self.parser = HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        lines = [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        return b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(lines))

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._unset_keepalive_if_required()  # set a moment ago, if the one before it was in the same packet
        super().on_message_begin()
        self._begin("head")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A line of the head, or a trailer, which is dropped."""
        if self._part == "head":
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The empty line after the headers."""
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            return  # it is read once more, see `_without_upgrade`
        if sum(name == b"host" for name, _ in self.headers) > 1:
            self._refuse(400, "there are several Host headers: send one (RFC 9112, 3.2)")
            raise HttpParserError("several Host headers")  # or what follows in the packet would be read
        if self._may_be_quick():
            self._held = bytearray()
        else:
            super().on_headers_complete()
        self._begin("body")

    def on_body(self, body: bytes) -> None:
        """Some of the body."""
        self._around_bytes = 0
        if self._held is None:
            super().on_body(body)
        else:
            self._held += body

    def on_message_complete(self) -> None:
        """The end of a request."""
        if self._part == "head":  # of one that offers to upgrade
            return
        self._part = "whole"
        if self._held is not None:
            try:
                answer = self._lane(self.scope, self.url, self._held)
            except Exception:
                # The parser, which calls us, would take it for the caller's fault.
                log.exception("fast_lane_crashed")
                answer = None
            if answer is not None:
                head, body = answer
                if isinstance(body, bytes):
                    self._held = None
                    self._answer(head, body)
                    return
                self._ready = partial(_in_pieces, head, body)
            self._let_go()
        super().on_message_complete()

    def _may_be_quick(self) -> bool:
        """Whether this request may be answered as soon as it is there: nobody waits before it, and nothing is odd."""
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

    def _go_on(self) -> None:
        """The rest of the body is still on its way, or what came of it was no HTTP and has been refused."""
        if self.transport.is_closing():
            self._held = None
            return
        try:
            self._let_go()
        except HttpParserError:  # the target; inside of the parser, uvicorn would have heard of it
            self.send_400_response("")

    def _let_go(self) -> None:
        """Make the request that was held back, with what there is of its body."""
        held, self._held = self._held, None
        super().on_headers_complete()
        if held:
            super().on_body(bytes(held))

    def _answer(self, head: bytes, body: bytes) -> None:
        lines = [STATUS_LINE[200]]
        for name, value in self.server_state.default_headers:
            lines += (name, b": ", value, b"\r\n")
        self.transport.write(b"".join((*lines, head, b"\r\n")))
        self.transport.write(body)
        self.on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP."""
        self._refuse(400, "this is not HTTP/1.1 as RFC 9112 has it: look at the request line, headers and chunk sizes")

    def _begin(self, part: _Part) -> None:
        self._part = part
        self._since = self.loop.time()
        self._received = self._around_bytes = 0

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        ready, self._ready = self._ready, None
        super()._start_asgi_task(cycle, ready or app)

    def _look_later(self) -> None:
        self.loop.call_later(self.LOOK_S, self._look)

    def _look(self) -> None:
        if self.parser is None:  # the connection is gone
            return
        now = self.loop.time()
        if self._patience.is_over(self._outflow, now):
            log.info("answer_not_read", waiting_bytes=self._outflow.waiting_bytes, sent_bytes=self._outflow.sent_bytes)
            self._outflow.abort()  # to close would be to wait until it is read
            return
        seconds = now - self._since
        if self.transport.is_closing():
            pass
        elif self._part in ("nothing", "head"):
            if seconds > self.HEAD_S:
                self._refuse(408, f"the request line and headers did not come within {self.HEAD_S:g} seconds")
        elif (
            self._part == "body"
            and not self.flow.read_paused  # the server does not take it: not its sender's fault
            and self._received < (seconds - self.GRACE_S) * self.LEAST_BYTES_S
        ):
            self._refuse(408, f"the body came at less than {self.LEAST_BYTES_S:g} bytes per second")
        self._look_later()

    def _refuse(self, status: int, message: str) -> None:
        """Say why, unless an answer is on its way already, and hang up."""
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
    """The application of a request whose answer is ready and large: sends it as its reader takes it."""
    headers = [tuple(line.split(b": ", 1)) for line in head.splitlines()]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
