"""`voxgate serve`: checks the settings, migrates the database, listens, and stops gracefully."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, cast

import click
import uvicorn

from gateway.api.http.collector import Collector
from gateway.api.http.connection import Connection
from gateway.cli.embedded import announcement
from gateway.cli.prepared import installed_names, migrate_or_refuse, settings_for
from gateway.cli.server_record import remove_record, write_record
from gateway.errors import SettingsError
from gateway.routing.checks import route_problems
from gateway.settings import Settings
from gateway.settings.address import address
from gateway.settings.checks import port_problem
from gateway.settings.logs import setup_logs
from gateway.settings.printed import EventStream

_BACKLOG = 2048
_LAST_ANSWERS_S = 5
_FORCE_POLL_S = 0.1
UNSENT_BYTES = 65_536


@click.command()
@click.option("--host", help="Address to listen on; unset: VOXGATE_HOST, else 127.0.0.1.")
@click.option("--port", type=int, help="Port to listen on, 0 for a free one; unset: VOXGATE_PORT, else 8000.")
def serve(host: str | None, port: int | None) -> None:
    """Run the gateway.

    Backs up and migrates an embedded SQLite database automatically; on PostgreSQL run `voxgate db upgrade` first. The
    first line on standard output is the address, printed once the server answers; logs go to standard error.
    """
    settings = settings_for({"host": host, "port": port}, listen=True)
    for problem in route_problems(settings, installed_names(settings)):
        raise SettingsError(problem)
    setup_logs(settings.log_level, settings.log_format)
    if settings.log_format == "json":
        sys.stderr = EventStream(sys.stderr, process="server")
    for name in ("uvicorn.error", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)  # the gateway logs its start and stop itself
    migrate_or_refuse(settings)
    with _listen(settings) as listener:
        _serve(settings, listener)


def _serve(settings: Settings, listener: socket.socket) -> None:
    from gateway.app import Gateway  # loads everything, so imported after the settings are checked
    from gateway.app import application as application_of

    url = address(settings.host, listener.getsockname()[1])
    gateway = Gateway(settings, address=url)
    application = application_of(gateway)
    collector = Collector()
    connection = partial(
        Connection, lane=application.lane, early_error=application.early_error, received=collector.received
    )
    config = uvicorn.Config(
        application,
        loop="auto",
        http=cast(Any, connection),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_LAST_ANSWERS_S,
    )
    server = _Server(config, gateway, collector, settings.data_dir, url)
    # uvicorn raises the signal that stopped it once more at its end; a requested stop must exit with 0.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ignore_signal)
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
        signal.signal(signal.SIGHUP, _stop_on_hangup)
    try:
        server.run(sockets=[listener])
    finally:
        remove_record(settings.data_dir)


class _Gateway(Protocol):
    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class _Server(uvicorn.Server):
    """Starts and stops the gateway, and prints its address once it answers.

    The application's lifespan is not used: uvicorn would log an error as a traceback instead of one line, and would
    end connections before the gateway.
    """

    def __init__(
        self, config: uvicorn.Config, gateway: _Gateway, collector: Collector, data_dir: Path, url: str
    ) -> None:
        super().__init__(config)
        self._collector = collector
        self._gateway = gateway
        self._data_dir = data_dir
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self._gateway.start()
        await super().startup(sockets)
        if self.started:
            self._collector.begin()
            write_record(self._data_dir, self._url)
            click.echo(announcement(self._url))
            sys.stdout.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop the gateway first, then the connections.

        uvicorn's own order waits for connections first: a caller waiting for a job would delay the stop that answers
        it, and new jobs would be claimed meanwhile.
        """
        stopping = asyncio.create_task(self._gateway.stop())
        while not stopping.done() and not self.force_exit:  # a second Ctrl-C
            await asyncio.wait({stopping}, timeout=_FORCE_POLL_S)
        await super().shutdown(sockets)
        if stopping.done():
            await stopping  # raises its error


def _stop_on_hangup(number: int, frame: FrameType | None) -> None:
    """Stop as for SIGTERM: running jobs are finished or requeued, not left until their lease expires."""
    signal.raise_signal(signal.SIGTERM)


def _ignore_signal(number: int, frame: FrameType | None) -> None:
    """Ignore the signal: uvicorn has already handled it."""


def _listen(settings: Settings) -> socket.socket:
    """Bind the port before the app is loaded, so that a port in use is reported at once.

    Raises:
        SettingsError: the port was taken between the check and now.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
    # asyncio turns Nagle's algorithm off only if the protocol is given; with Nagle, answers take 40 ms.
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Otherwise Linux buffers megabytes for a caller that does not read, and `/stream` would count them as sent.
    # Bytes sent and not yet acknowledged do not count, so this slows nothing down. Connections inherit it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise SettingsError(port_problem(settings) or f"{settings.host}: {error}") from error
    listener.listen(_BACKLOG)
    listener.set_inheritable(False)
    return listener
