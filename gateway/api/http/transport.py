"""Count the bytes sent to a caller, to find one that reads its answer too slowly."""

from __future__ import annotations

import asyncio
from typing import Any


class CountingTransport:
    """A transport that counts the bytes written to it.

    It has the methods of a transport that uvicorn and `Connection` use. All except `write` are the transport's own.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self.is_closing = transport.is_closing
        self.close = transport.close
        self.abort = transport.abort
        self.get_extra_info = transport.get_extra_info
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.get_write_buffer_size = transport.get_write_buffer_size
        self._write = transport.write
        self._written = 0

    def write(self, data: Any) -> None:
        """Send bytes, or buffer them until the caller reads. Drop them if the connection is being closed.

        uvloop raises if its transport is closed, and a request learns of that only in the next turn of the loop.
        """
        if self.is_closing():
            return
        self._written += len(data)
        self._write(data)

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait in the buffer because the caller does not read."""
        return self.get_write_buffer_size()

    @property
    def sent_bytes(self) -> int:
        """Bytes handed to the system, of all answers of the connection."""
        return self._written - self.get_write_buffer_size()


class ReadRate:
    """The minimum rate at which a caller must read an answer. Checked every few seconds.

    Args:
        stall_s: seconds within which some of the waiting bytes must be read.
        grace_s: seconds after which the waiting bytes must be read at `least_bytes_s`.
        least_bytes_s: the minimum rate, in bytes per second.
    """

    def __init__(self, stall_s: float, grace_s: float, least_bytes_s: float) -> None:
        self._stall_s = stall_s
        self._grace_s = grace_s
        self._least_bytes_s = least_bytes_s
        self._begun: tuple[float, int] | None = None
        self._moved: tuple[float, int] = (0.0, 0)

    def is_too_low(self, transport: CountingTransport, now: float) -> bool:
        """Return whether the caller has read too little since its answer began to wait."""
        if transport.waiting_bytes == 0:
            self._begun = None
            return False
        sent = transport.sent_bytes
        if self._begun is None:
            self._begun = self._moved = (now, sent)
        elif sent != self._moved[1]:
            self._moved = (now, sent)
        begun_at, sent_then = self._begun
        stalled = now - self._moved[0] > self._stall_s
        return stalled or sent - sent_then < (now - begun_at - self._grace_s) * self._least_bytes_s
