"""A connection as uvicorn has it, with a fast lane, and an end to how much and how slowly a caller may send.

uvicorn with httptools keeps whatever comes before the empty line that ends the headers, for as long as it takes. Here
headers have a size and a time, and a body has to come at some rate; who waits for an answer may wait on.

A POST that came whole is shown to the fast lane first. What that can answer needs no task, no events and no ASGI
messages, which cost more than the answer (benchmarks/NOTES.md); all else goes on as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from gateway.settings.logs import get_logger

log = get_logger("voxgate.connection")

_Part = Literal["nothing", "head", "body", "whole"]
Lane = Callable[[Any, bytes, bytearray], tuple[bytes, bytes] | None]
EarlyError = Callable[[bytes, int, str], bytes]


class Connection(HttpToolsProtocol):
    """One caller's connection.

    Attributes:
        MAX_HEAD_BYTES: of the request line and headers; looked at between reads, which bring up to 256 KB at once.
        HEAD_S: within which they are there, counted from the connection or from their first byte.
        GRACE_S: after which a body must have come at LEAST_BYTES_S.
        LOOK_S: how often time is looked at.
    """

    MAX_HEAD_BYTES: ClassVar[int] = 65_536
    HEAD_S: ClassVar[float] = 20.0
    GRACE_S: ClassVar[float] = 30.0
    LEAST_BYTES_S: ClassVar[float] = 1_000.0
    LOOK_S: ClassVar[float] = 5.0

    def __init__(self, *args: Any, lane: Lane, early_error: EarlyError, **others: Any) -> None:
        """As uvicorn makes it.

        Args:
            lane: may answer a POST, given its scope, target and body.
            early_error: makes the JSON of an error, given the target as far as it came, the status and the message.
        """
        super().__init__(*args, **others)
        self.url = b""
        self._lane = lane
        self._early_error = early_error
        self._held: bytearray | None = None

    def connection_made(self, transport: Any) -> None:
        """A caller is there."""
        super().connection_made(transport)
        self._part: _Part = "nothing"
        self._since = self.loop.time()
        self._received = 0
        self._look_later()

    def data_received(self, data: bytes) -> None:
        """Read on, but for a head without an end."""
        self._received += len(data)
        super().data_received(data)
        if self._held is not None:
            self._go_on()
        if self._part == "head" and self._received > self.MAX_HEAD_BYTES:
            self._refuse(431, f"the request line and headers are too large; at most {self.MAX_HEAD_BYTES} bytes")

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._unset_keepalive_if_required()  # set a moment ago, if the one before it was in the same packet
        super().on_message_begin()
        self._begin("head")

    def on_headers_complete(self) -> None:
        """The empty line after the headers."""
        if self._may_be_quick():
            self._held = bytearray()
        else:
            super().on_headers_complete()
        self._begin("body")

    def on_body(self, body: bytes) -> None:
        """Some of the body."""
        if self._held is None:
            super().on_body(body)
        else:
            self._held += body

    def on_message_complete(self) -> None:
        """The end of a request."""
        self._part = "whole"
        if self._held is not None:
            try:
                answer = self._lane(self.scope, self.url, self._held)
            except Exception:
                # The parser, which calls us, would take it for the caller's fault.
                log.exception("fast_lane_crashed")
                answer = None
            if answer is not None:
                self._held = None
                self._answer(*answer)
                return
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
        self._received = 0

    def _look_later(self) -> None:
        self.loop.call_later(self.LOOK_S, self._look)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        seconds = self.loop.time() - self._since
        if self._part in ("nothing", "head"):
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
