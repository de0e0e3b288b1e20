"""Receives the notices of other servers over PostgreSQL (`storage/db/notices.py`), on its own connection.

Nothing depends on a notice: a poll backs each one. After the connection was lost, notices may have been missed, so
the handler of every topic is called.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy.engine import URL

from gateway.settings.logs import get_logger
from storage.db.notices import CHANNELS, Topic, read_payload

AGAIN_S = 1.0
"""Seconds before reconnecting."""

NoticeHandler = Callable[[tuple[str, ...]], None]
"""A handler of notices. Gets the names in a notice; no names mean that notices may have been missed: read all rows."""

log = get_logger("voxgate.storage")


class Listener:
    """Listens for notices until `close`.

    Args:
        url: the PostgreSQL database.
        parameters: further parameters of libpq for the connection.
        handlers: the handler of each topic.
        is_own: True for the process id of this server's own writer, whose notices are ignored.
    """

    def __init__(
        self,
        url: URL,
        parameters: Mapping[str, Any],
        handlers: Mapping[Topic, NoticeHandler],
        is_own: Callable[[int], bool],
    ) -> None:
        self._dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._parameters = dict(parameters)
        self._handlers = handlers
        self._is_own = is_own
        self._task = asyncio.create_task(self._loop(), name="listener")

    async def close(self) -> None:
        """Stop listening and close the connection."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _loop(self) -> None:
        import psycopg

        lost = False
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(self._dsn, autocommit=True, **self._parameters)
                async with connection:
                    for channel in CHANNELS:
                        await connection.execute(f"LISTEN {channel}")
                    if lost:
                        log.info("listening_again")
                    lost = False
                    self._call_all()  # notices sent before LISTEN were missed
                    async for notify in connection.notifies():
                        if not self._is_own(notify.pid):
                            self._call(notify.channel, notify.payload)
            except psycopg.Error as error:
                if not lost:  # logged once per outage
                    log.warning("not_listening", error=type(error).__name__)
                lost = True
            except Exception:  # the loop must go on: otherwise only the polls would be left
                log.exception("listener_crashed")
            await asyncio.sleep(AGAIN_S)

    def _call(self, channel: str, payload: str) -> None:
        message = read_payload(channel, payload)
        if message is not None and (handler := self._handlers.get(message[0])) is not None:
            handler(message[1])

    def _call_all(self) -> None:
        for handler in self._handlers.values():
            handler(())
