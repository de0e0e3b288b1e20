"""Hears what other servers tell over PostgreSQL (`storage/db/notices.py`), on a connection of its own.

Nothing depends on being heard: behind every notice there is a poll. When the connection was lost, everything may
have been missed, and everybody is told to look.
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
"""Seconds before connecting again."""

Heard = Callable[[tuple[str, ...]], None]
"""Is given the names of a notice; none of them when notices may have been missed: look at everything."""

log = get_logger("voxgate.storage")


class Listener:
    """Listens until it is closed.

    Args:
        url: of PostgreSQL.
        parameters: what else libpq is given to connect.
        heard: what to do about each topic.
        is_own: whether a backend's process id is that of our own writer, whose news are no news.
    """

    def __init__(
        self, url: URL, parameters: Mapping[str, Any], heard: Mapping[Topic, Heard], is_own: Callable[[int], bool]
    ) -> None:
        self._dsn = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._parameters = dict(parameters)
        self._heard = heard
        self._is_own = is_own
        self._task = asyncio.create_task(self._loop(), name="listener")

    async def close(self) -> None:
        """Listen no more."""
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
                    self._tell_all()  # what was told before is known to nobody here
                    async for notify in connection.notifies():
                        if not self._is_own(notify.pid):
                            self._tell(notify.channel, notify.payload)
            except psycopg.Error as error:
                if not lost:  # said once, not once a second
                    log.warning("not_listening", error=type(error).__name__)
                lost = True
            except Exception:  # a listener that ended would leave everything to the polls for ever
                log.exception("listener_crashed")
            await asyncio.sleep(AGAIN_S)

    def _tell(self, channel: str, payload: str) -> None:
        message = read_payload(channel, payload)
        if message is not None and (heard := self._heard.get(message[0])) is not None:
            heard(message[1])

    def _tell_all(self) -> None:
        for heard in self._heard.values():
            heard(())
