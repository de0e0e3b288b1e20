"""An idle model frees all its memory, as the process table shows."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from support.running import Caller, running

from backends.chatterbox import ChatterboxSettings
from backends.interface import BackendContext
from benchmarks.tiny import TinyChatterbox
from gateway.engines.scale import HostSettings, scale_of
from gateway.errors import SettingsError

GUARD_S = 180
MB = 1_000_000


def resident() -> dict[int, int]:
    """Return the resident bytes of each descendant process."""
    parents: dict[int, int] = {}
    held: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            pages = int((folder / "statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(folder.name)] = int(stat[1])
        held[int(folder.name)] = pages * os.sysconf("SC_PAGE_SIZE")
    return {pid: size for pid, size in held.items() if _descends(pid, parents)}


def _descends(pid: int, parents: dict[int, int]) -> bool:
    while (pid := parents.get(pid, 0)) > 0:
        if pid == os.getpid():
            return True
    return False


def workers(caller: Caller) -> tuple[int, ...]:
    hosted = caller.gateway.engines.get("chatterbox")
    assert hosted is not None
    return hosted.host.state().pids


async def test_an_idle_worker_is_gone_with_its_memory_and_the_next_job_starts_one(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.chatterbox.ChatterboxBackend", TinyChatterbox)
    own: dict[str, Any] = {"model_path": str(checkpoint), "min_workers": 0, "idle_timeout_s": 3.0, "take_checks": False}
    async with running(tmp_path, plugins=("chatterbox",), device="cpu", backends={"chatterbox": own}) as caller:
        before = resident()
        job = await caller.run("The first sentence.")
        async with asyncio.timeout(GUARD_S):
            while not (running_now := workers(caller)):
                await asyncio.sleep(0.01)
            [first] = running_now
            peak = 0
            while first in (now := resident()):  # until the worker has spoken, was idle and ended
                peak = max(peak, now[first])
                await asyncio.sleep(0.05)
        assert (await caller.status(job))["status"] == "COMPLETED"
        assert peak > 200 * MB, "it held PyTorch and a model"
        assert sum(resident().values()) <= sum(before.values()) + 20 * MB
        assert workers(caller) == ()
        again = await caller.until(await caller.run("The second sentence."), within_s=GUARD_S)
        assert again["status"] == "COMPLETED"


@pytest.mark.parametrize("key", ["workers", "max_workers"])
def test_a_device_gets_one_worker(checkpoint: Path, key: str) -> None:
    asked = TinyChatterbox(ChatterboxSettings(model_path=str(checkpoint)), BackendContext(Path("unused"), "cpu"))
    assert scale_of("chatterbox", HostSettings(), asked.capabilities()).max_workers == 1
    with pytest.raises(SettingsError, match=rf"\[backends\.chatterbox\] {key} = 2: more than the 1 that one device"):
        scale_of("chatterbox", HostSettings(**{key: 2}), asked.capabilities())
