"""Controls a headless Chromium over its debugging pipe, without driver, port or download."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-pipe",
)
_GUARD_S = 30.0


class Browser:
    """One page of a browser; `console` has the messages of its console."""

    def __init__(self, reader: asyncio.StreamReader, command: int) -> None:
        self._reader = reader
        self._command = command
        self._next = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._session: str | None = None
        self.console: list[str] = []

    async def read_forever(self) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                message = json.loads((await self._reader.readuntil(b"\0"))[:-1])
                if "id" in message:
                    self._waiting.pop(message["id"]).set_result(message)
                elif message["method"] in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"):
                    self.console.append(json.dumps(message["params"]))

    async def call(self, method: str, **params: Any) -> Any:
        self._next += 1
        future = asyncio.get_running_loop().create_future()
        self._waiting[self._next] = future
        message = {"id": self._next, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._command, json.dumps(message).encode() + b"\0")
        answer = await asyncio.wait_for(future, _GUARD_S)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    async def attach(self) -> None:
        target = (await self.call("Target.createTarget", url="about:blank"))["targetId"]
        self._session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")

    async def open(self, url: str, width: int = 1000, height: int = 900, dark: bool = False) -> None:
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        await self.call("Emulation.setEmulatedMedia", features=scheme)
        await self.call("Page.navigate", url="about:blank")  # else a new fragment alone would load nothing
        self.console.clear()
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def run(self, script: str) -> Any:
        """Evaluate an expression in the page and return its value; promises are awaited."""
        answer = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    async def until(self, script: str) -> Any:
        """Wait for an expression to become true."""
        try:
            async with asyncio.timeout(_GUARD_S):
                while not (value := await self.run(script)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"never true: {script}; the console said {self.console}") from None
        return value

    async def screenshot(self, path: Path) -> None:
        height = await self.run("document.documentElement.scrollHeight")
        width = await self.run("innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        data = (await self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True))["data"]
        path.write_bytes(base64.b64decode(data))


@contextlib.asynccontextmanager
async def browsing(profile: Path) -> AsyncIterator[Browser]:
    """Run a browser with a new profile in this folder."""
    assert CHROMIUM is not None
    read_command, write_command = os.pipe()
    read_event, write_event = os.pipe()

    def hand_over() -> None:
        # Chromium expects the pipe at 3 and 4; duplicate ours first, since they may have these numbers.
        one, two = os.dup(read_command), os.dup(write_event)
        os.dup2(one, 3)
        os.dup2(two, 4)

    process = subprocess.Popen(
        [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"],
        preexec_fn=hand_over,
        close_fds=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read_command)
    os.close(write_event)
    reader = asyncio.StreamReader(limit=1 << 28)
    pipe = os.fdopen(read_event, "rb")
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    browser = Browser(reader, write_command)
    reading = asyncio.create_task(browser.read_forever())
    try:
        await browser.attach()
        yield browser
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)
        reading.cancel()
        transport.close()
        os.close(write_command)
