"""The gateway speaks a take again if the model missed its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.chatterbox_lively import LivelyChatterbox
from support.running import running

from benchmarks.checkpoints import make_turbo
from gateway.settings.model import JobSettings

GUARD_S = 300


async def test_a_take_without_an_end_is_cut_and_spoken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.chatterbox.ChatterboxBackend", LivelyChatterbox)
    folder = make_turbo(tmp_path / "model", eos_at=None)
    own: dict[str, Any] = {"model": "turbo", "model_path": str(folder)}
    jobs = JobSettings(take_retries=1)
    async with running(
        tmp_path / "gateway", plugins=("chatterbox",), device="cpu", backends={"chatterbox": own}, jobs=jobs
    ) as caller:
        job = await caller.until(await caller.run("Yes, it is."), within_s=GUARD_S)
        assert job["status"] == "COMPLETED", job
        assert job["output"]["takes_retried"] == 1
        told = [warning["message"] for warning in job["output"]["warnings"] if warning["code"] == "take_flaw"]
        assert any("missed_eos: cut at 89 speech tokens" in message for message in told)
        flaws = caller.gateway.metrics.take_flaws.labels("chatterbox", "missed_eos")
        assert flaws._value.get() == 2, "the second take was judged likewise"
