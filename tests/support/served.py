"""Runs `voxgate serve` as processes on one data folder, for tests in which a server must die."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
from support.command import forked
from support.databases import url_of
from support.running import KEY, Caller

ANNOUNCED = "voxgate listens on "
GUARD_S = 60.0


class Served:
    """One server process and a caller of it. Signals go to its pid only."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        self.url = ""
        self.http: httpx.AsyncClient | None = None

    @property
    def caller(self) -> Caller:
        assert self.http is not None, self.log.read_text()
        return Caller(None, self.http)  # type: ignore[arg-type] # the gateway is in another process

    async def announced(self) -> Served:
        """Wait until it answers."""
        end = asyncio.get_running_loop().time() + GUARD_S
        while not (found := [w for w in self.words() if w.startswith(ANNOUNCED)]):
            assert self.process.poll() is None, f"it stopped: {self.log.read_text()}"
            assert asyncio.get_running_loop().time() < end, f"it did not start: {self.log.read_text()}"
            await asyncio.sleep(0.02)
        self.url = found[0].removeprefix(ANNOUNCED).strip()
        self.http = httpx.AsyncClient(base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
        return self

    def words(self) -> list[str]:
        """Return the lines it printed for people."""
        return [line + "\n" for line in self.log.with_suffix(".out").read_text().split("\n")[:-1]]

    def memory_mb(self, field: str = "VmRSS") -> float:
        """Return the memory of the server process in MB, from /proc, without its workers; `VmHWM` is the peak."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split(f"{field}:")[1].split()[0]) / 1024

    def send(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            os.kill(self.process.pid, number)

    async def ended(self) -> int:
        """Wait until it has ended and return its exit code."""
        return await asyncio.wait_for(asyncio.to_thread(self.process.wait), GUARD_S)

    async def kill(self) -> None:
        """Kill it with SIGKILL."""
        self.send(signal.SIGKILL)
        await self.ended()
        await self.hang_up()

    async def stop(self) -> int:
        """Stop it as an operator does and return its exit code."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        code = await self.ended()
        await self.hang_up()
        return code

    async def hang_up(self) -> None:
        if self.http is not None:
            await self.http.aclose()


class Site:
    """A data folder and the servers that were started on it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.settings = settings
        self.prefix: list[str] = []
        """Prefix of the commands of its servers."""
        self.started: list[Served] = []
        self._numbers = itertools.count(1)
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of its servers and commands, without the test's own variables."""
        kept = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH") if name in os.environ
        }
        named = {f"VOXGATE_{name.upper()}": str(value) for name, value in self.settings.items()}
        url = url_of(self.data_dir)
        if url is not None:
            named = {"VOXGATE_DATABASE__URL": url, "VOXGATE_AUTO_ENDPOINTS": "true", **named}
        own = {"VOXGATE_DATA_DIR": str(self.data_dir), "VOXGATE_PLUGINS": "scripted", "VOXGATE_API_KEY": KEY}
        return {**kept, "OPENBLAS_NUM_THREADS": "1", **own, **named}

    def spawn(self, **settings: Any) -> Served:
        """Start a server and do not wait for it."""
        log = self.folder / f"serve-{next(self._numbers)}.log"
        more = {f"VOXGATE_{name.upper()}": str(value) for name, value in settings.items()}
        with log.open("wb") as errors, log.with_suffix(".out").open("wb") as words:
            process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "voxgate", "serve", "--host", "127.0.0.1", "--port", "0"],
                cwd=self.folder,
                env={**self.environment, **more},
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=errors,
            )
        served = Served(process, log)
        self.started.append(served)
        return served

    async def start(self, **settings: Any) -> Served:
        """Start a server and wait until it answers."""
        return await self.spawn(**settings).announced()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `voxgate ARGUMENTS` on the same data."""
        return forked(arguments, self.folder, self.environment)


@asynccontextmanager
async def site(folder: Path, **settings: Any) -> AsyncIterator[Site]:
    """Return a data folder whose servers are stopped at the end of the block."""
    found = Site(folder, **settings)
    try:
        yield found
    finally:
        for served in found.started:
            served.send(signal.SIGKILL)
            with suppress(TimeoutError):
                await served.ended()
            await served.hang_up()
