"""With RunPod's limits, an endpoint answers so many requests at a time."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.running import running

from gateway.access.in_flight import RUNPOD_AT_ONCE
from gateway.settings import JobSettings


@pytest.mark.parametrize(("verb", "body"), [("status-sync", None), ("runsync", {"input": {"text": "Held, too."}})])
async def test_a_request_too_many_is_429_until_another_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, body: Any
) -> None:
    monkeypatch.setitem(RUNPOD_AT_ONCE, verb, 1)
    async with running(tmp_path, limits="runpod", jobs=JobSettings(max_running=1)) as caller:
        slow = await caller.run("It takes long.", options={"delay_s": 600})
        await caller.until(slow, "IN_PROGRESS")
        path = verb if body else f"{verb}/{slow}"

        async def held() -> httpx.Response:
            while (answer := await caller.post(f"{path}?wait=300000", body, timeout=120)).status_code == 429:
                await asyncio.sleep(0.01)
            return answer

        waits = asyncio.create_task(held())
        async with asyncio.timeout(60):
            while (refused := await caller.post(f"{path}?wait=1000", body)).status_code == 200:
                assert not waits.done()
                await asyncio.sleep(0.2)  # let it have its turn
        assert refused.status_code == 429
        assert refused.json() == {"error": f"this endpoint answers 1 /{verb} requests at a time; try again in 1 s"}
        assert refused.headers["retry-after"] == "1"
        assert (await caller.post(f"cancel/{slow}")).status_code == 200
        assert (await waits).json()["status"] in ("CANCELLED", "COMPLETED")
        assert (await caller.post(path, body)).status_code == 200
