"""Runs a whole gateway in the test's event loop, behind a real uvicorn, with a client that has its key."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile
from support.databases import url_of
from support.serving import serving

from gateway.api import build_app
from gateway.app import SURFACES, Gateway
from gateway.clock import Clock
from gateway.settings import DatabaseSettings, Settings
from gateway.speech.planner import Planner
from storage.db import migrate

KEY = "a-key-of-the-tests"


class Caller:
    """A client of one endpoint of a running gateway."""

    def __init__(self, gateway: Gateway, http: httpx.AsyncClient, endpoint: str = "tests") -> None:
        self.gateway = gateway
        self.http = http
        self.endpoint = endpoint

    async def post(self, verb: str, body: Any = None, **kwargs: Any) -> httpx.Response:
        return await self.http.post(f"/v2/{self.endpoint}/{verb}", json=body, **kwargs)

    async def run(self, text: str, **fields: Any) -> str:
        """Submit a job and return its id."""
        envelope = {k: fields.pop(k) for k in ("policy", "webhook") if k in fields}
        answer = await self.post("run", {"input": {"text": text, **fields}, **envelope})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    async def say(self, text: str, **fields: Any) -> dict[str, Any]:
        """Submit a job, wait, and return the final job."""
        answer = await self.post("runsync", {"input": {"text": text, **fields}}, timeout=120)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def new_key(self, **fields: Any) -> dict[str, str]:
        """Make a key, and return the header that sends it."""
        made = await self.gateway.access.keys.create(**fields)
        await self.gateway.access.refresh()
        return {"Authorization": f"Bearer {made.secret}"}

    async def status(self, job_id: str) -> dict[str, Any]:
        answer = await self.http.get(f"/v2/{self.endpoint}/status/{job_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def until(self, job_id: str, *states: str, within_s: float = 60.0) -> dict[str, Any]:
        """Wait until the job is in one of these states (in a final one if none is given), and return it."""
        wanted = set(states) or {"COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"}
        end = time.monotonic() + within_s
        while True:
            job = await self.status(job_id)
            if job["status"] in wanted:
                return job
            if time.monotonic() > end:
                raise AssertionError(f"still {job['status']} after {within_s} s: {job}")
            await asyncio.sleep(0.02)


def settings_of(folder: Path, **fields: Any) -> Settings:
    """Return settings of a migrated gateway in `folder`, with the scripted backend unless `plugins` is given."""
    fields = {"plugins": ("scripted",), "api_key": KEY, "data_dir": folder, **fields}
    url = url_of(folder)
    if url is not None:
        fields = {"database": DatabaseSettings(url=url), "auto_endpoints": True, **fields}
    settings = Settings(**fields)
    folder.mkdir(parents=True, exist_ok=True)
    if migrate.check(settings.database_url).state != "ready":
        migrate.upgrade(settings.database_url)
    return settings


@asynccontextmanager
async def running(
    folder: Path, clock: Clock | None = None, planner: Planner | None = None, **fields: Any
) -> AsyncIterator[Caller]:
    """Run a gateway with these settings, and return its caller."""
    gateway = Gateway(settings_of(folder, **fields), clock, planner=planner)
    async with (
        serving(build_app(gateway.port, SURFACES)) as url,
        httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as http,
    ):
        yield Caller(gateway, http)


def pcm_of(job: dict[str, Any]) -> tuple[np.ndarray, int]:
    """Return samples and rate of a finished job's inline audio."""
    assert job["status"] == "COMPLETED", job
    data = base64.b64decode(job["output"]["audio_base64"])
    samples, rate = soundfile.read(io.BytesIO(data), dtype="int16")
    return samples, rate
