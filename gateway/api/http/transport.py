"""What leaves a connection: counted, so that a caller who takes too little of an answer can be told from a slow one."""

from __future__ import annotations

import asyncio
from typing import Any


class Outflow:
    """A transport that counts the bytes written to it.

    It has what uvicorn and our own connection use of a transport; all but `write` is the transport's own.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        """Stand in front of `transport`."""
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
        """Send bytes, or keep them until the caller takes them; drop them where the connection is being closed.

        uvloop raises where its transport is closed already, which a request hears of a turn of the loop later.
        """
        if self.is_closing():
            return
        self._written += len(data)
        self._write(data)

    @property
    def waiting_bytes(self) -> int:
        """What the system has not taken yet, because the caller does not read."""
        return self.get_write_buffer_size()

    @property
    def sent_bytes(self) -> int:
        """What the system has taken, all answers of the connection together."""
        return self._written - self.get_write_buffer_size()


class Patience:
    """How long an answer may wait for its reader. Asked every few seconds.

    Args:
        stall_s: seconds within which some of what waits must leave.
        grace_s: seconds after which what waits must have left at `least_bytes_s`.
    """

    def __init__(self, stall_s: float, grace_s: float, least_bytes_s: float) -> None:
        self._stall_s = stall_s
        self._grace_s = grace_s
        self._least_bytes_s = least_bytes_s
        self._begun: tuple[float, int] | None = None
        self._moved: tuple[float, int] = (0.0, 0)

    def is_over(self, outflow: Outflow, now: float) -> bool:
        """Whether the caller has taken too little since its answer began to wait."""
        if outflow.waiting_bytes == 0:
            self._begun = None
            return False
        sent = outflow.sent_bytes
        if self._begun is None:
            self._begun = self._moved = (now, sent)
        elif sent != self._moved[1]:
            self._moved = (now, sent)
        begun_at, sent_then = self._begun
        stalled = now - self._moved[0] > self._stall_s
        return stalled or sent - sent_then < (now - begun_at - self._grace_s) * self._least_bytes_s
