"""A megabyte of text, spoken to its end by a real server."""

from __future__ import annotations

import asyncio
import io
import itertools
import random
import string
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from support.served import Served, site

pytestmark = pytest.mark.asyncio(loop_scope="module")

MEGABYTE = 1_000_000
CHUNK_CHARS = 4_000
MS_PER_CHAR = 1.25
SETTINGS = {
    "backends__scripted__target_chars": CHUNK_CHARS,
    "backends__scripted__max_chars": CHUNK_CHARS,
    "backends__scripted__seconds_per_char": MS_PER_CHAR / 1000,
}
MOST_GROWTH_MB = 80
"""The sound of a million characters is 60 MB as 16 bit and twice that as floats: held whole, it would show."""
GUARD_S = 300.0
SCRIPTS = (
    "Привет, мир! ", "你好世界，今天天气很好。", "مرحبا بالعالم، كيف حالك؟ ", "नमस्ते दुनिया। ", "Grüße aus Köln: ",
    "สวัสดีชาวโลก ", "שלום עולם. ", "안녕하세요 세계. ", "١٢٣ and 42 ", "🙂 Cafe\u0301, ", "ひらがなとカタカナ。",
)  # fmt: skip


def without_a_space() -> str:
    return "".join(random.Random(1).choices(string.ascii_lowercase, k=MEGABYTE))


def of_mixed_script() -> str:
    rng, parts, size = random.Random(2), [], 0
    while size < MEGABYTE:
        parts.append(rng.choice(SCRIPTS))
        size += len(parts[-1].encode())
    return "".join(parts)


def letters(text: str) -> str:
    """Return the text without whitespace, in NFC: the part that must be spoken, however the text is cut into chunks."""
    return "".join(unicodedata.normalize("NFC", text).split())


async def spoken(served: Served, text: str) -> tuple[dict[str, Any], set[int]]:
    """The finished job, and the counts of finished chunks at which `/health/live` answered."""
    caller, seen = served.caller, set()
    job_id = await caller.run(text, format="wav", delivery="url", cache="off")
    while True:
        job = await caller.status(job_id)
        if job["status"] not in ("IN_QUEUE", "IN_PROGRESS"):
            return job, seen
        assert (await caller.http.get("/health/live", timeout=GUARD_S)).status_code == 200
        if progress := job.get("progress"):
            seen.add(progress["chunks_done"])
        await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks /proc for the memory of a process")
async def test_a_megabyte_is_spoken_to_its_end_in_bounded_memory_while_others_are_answered(tmp_path: Path) -> None:
    async with site(tmp_path, **SETTINGS) as started:
        served = await started.start()
        await served.caller.say("Something short first.", format="wav")
        before_mb = served.memory_mb()
        for text in (without_a_space(), of_mixed_script()):
            job, seen = await spoken(served, text)
            assert job["status"] == "COMPLETED", job
            assert len(seen) >= 5, f"health was answered only when {sorted(seen)} chunks were done"
            output = job["output"]
            chunks = output["chunks"]

            # Nothing is lost or said twice, and a chunk is as long as it can be.
            assert letters("".join(chunk["text"] for chunk in chunks)) == letters(text)
            assert max(len(chunk["text"]) for chunk in chunks) <= CHUNK_CHARS
            assert output["chunks_processed"] == len(chunks)
            least = -(-len(text) // CHUNK_CHARS)
            assert len(chunks) == least if " " not in text else least <= len(chunks) <= 1.1 * least

            # Each has its time, in its order, to the last sample of the file.
            for chunk in chunks:
                expected_ms = len(chunk["text"]) * MS_PER_CHAR
                assert chunk["end_ms"] - chunk["start_ms"] == pytest.approx(expected_ms, abs=2)
            pauses = [after["start_ms"] - one["end_ms"] for one, after in itertools.pairwise(chunks)]
            assert chunks[0]["start_ms"] == 0 and 0 <= min(pauses) <= max(pauses) < 1_000
            assert output["duration_ms"] == chunks[-1]["end_ms"]
            answer = await served.caller.http.get(output["audio_url"], timeout=GUARD_S)
            samples, rate = soundfile.read(io.BytesIO(answer.content), dtype="int16")
            assert len(samples) * 1000 / rate == pytest.approx(output["duration_ms"], abs=1)
            for chunk in chunks:
                piece = samples[chunk["start_ms"] * rate // 1000 : chunk["end_ms"] * rate // 1000]
                assert np.abs(piece[:: rate // 1000]).max() > 10_000, "a chunk is silent"

        assert served.memory_mb("VmHWM") < before_mb + MOST_GROWTH_MB
        assert await served.stop() == 0
