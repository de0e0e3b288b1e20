"""A backend may tell other voices after it has loaded, as a cloud service does once it has read its list."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.broken_backends import ForgetsItsVoices
from support.hosting import hosting, order, outcome, until
from support.running import running

from backends.interface import BackendUnavailable
from gateway.engines.scale import Scale


@pytest.mark.parametrize("place", ["inline", "process"])
async def test_voices_told_after_loading_replace_the_first_ones(tmp_path: Path, place: str) -> None:
    settings = {"host": place, "loaded_voices": ("low", "ada"), "min_workers": 0}
    async with running(tmp_path, backends={"scripted": settings}) as caller:
        gone = await caller.say("Loads it.", voice="high")
        assert "it has: default, low, ada" in gone["error"], "it was accepted before loading"
        hosted = caller.gateway.engines.get("scripted")
        assert hosted is not None
        await until(lambda: [voice.name for voice in hosted.voices] == ["low", "ada"])
        answer = await caller.http.get("/v2/tests/voices")
        assert [voice["name"] for voice in answer.json()["voices"]] == ["low", "ada"]
        assert (await caller.say("Loads it.", voice="ada"))["status"] == "COMPLETED"
        again = await caller.say("Loads it.", voice="high")
        assert "it has: default, low, ada" in again["error"]


async def test_a_backend_without_voices_after_loading_is_unavailable() -> None:
    async with hosting(Scale(0, 1, restart_s=0.01), host="inline", backend=ForgetsItsVoices) as host:
        error = await outcome(host.submit(order()))
        assert isinstance(error, BackendUnavailable)
        assert "no voices after loading" in str(error)
