"""Chatterbox in a worker process of the gateway's host."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from support.chatterbox_recorded import RecordedChatterbox
from support.posting import post

from backends.chatterbox import ChatterboxSettings
from backends.interface import BackendContext
from benchmarks.decoding import TEXTS
from gateway.clock import SystemClock
from gateway.engines.chunk import ChunkSpec
from gateway.engines.host import Host
from gateway.engines.order import ChunkOrder
from gateway.engines.process import ProcessWorker
from gateway.engines.scale import Scale
from gateway.engines.worker import WorkerSpec

GUARD_S = 400


async def test_a_killed_worker_costs_its_chunks_nothing_but_time(checkpoint: Path, tmp_path: Path) -> None:
    settings = ChatterboxSettings(model_path=str(checkpoint), slots=4)
    context = BackendContext(tmp_path, "cpu")
    asked = RecordedChatterbox(settings, context)
    voice, revision = asked.voices()[0], asked.revision()
    spec = WorkerSpec(RecordedChatterbox, settings, context, post, beat_s=5.0)

    def make(on_message: Any, on_exit: Any) -> ProcessWorker:
        return ProcessWorker(spec, on_message, on_exit)

    host = Host("chatterbox", revision, 4, Scale(0, 1, restart_s=0.05), make, SystemClock())
    texts = [TEXTS[n % 8] for n in range(12)]
    specs = [ChunkSpec(text, voice, "en", 100 + n) for n, text in enumerate(texts)]
    tickets = [host.submit(ChunkOrder("anna", "job", n, spec)) for n, spec in enumerate(specs)]
    try:
        async with asyncio.timeout(GUARD_S):
            while not any(ticket.future.done() for ticket in tickets):
                await asyncio.sleep(0.01)
        os.kill(host.state().pids[0], signal.SIGKILL)
        finished = {n: ticket.future.result() for n, ticket in enumerate(tickets) if ticket.future.done()}
        takes = await asyncio.wait_for(asyncio.gather(*(ticket.future for ticket in tickets)), GUARD_S)
        assert all(take.samples > 0 for take in takes)
        assert finished and host.state().restarts == 1
        taken = Counter(int(line) for line in (tmp_path / "record").read_text().split())
        again = {n for n in range(12) if taken[100 + n] > 1}
        assert again and not again & finished.keys(), "what was spoken is not spoken again; what was in the making is"
    finally:
        await host.stop(0.5)
