"""Every item of a stream is a file of its own of at most 1 MB, whatever its format."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from support.running import running
from support.streaming import drain

from gateway.jobs.listen.stream_items import items_of
from gateway.speech.encode import missing
from gateway.speech.encode.aac import read_aac
from gateway.speech.request import SpeechRequest
from gateway.speech.speak.reader import ChunkAudio

LONG = " ".join(f"The long paragraph goes on with its sentence number {n}, which is not its last." for n in range(30))
RATE = 24_000


def samples_of(data: bytes, form: str, folder: Path) -> int:
    """Return the number of samples the file decodes to."""
    if form == "pcm":
        return len(data) // 2
    if form == "aac":
        path = folder / "item.aac"
        path.write_bytes(data)
        return int(read_aac(path, 0, None).size)
    pcm, rate = soundfile.read(io.BytesIO(data))
    assert rate == RATE
    return len(pcm)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "fields"),
    [
        ("mp3", {}), ("mp3", {"speed": 0.5}), ("mp3", {"bitrate": 160}), ("opus", {"bitrate": 128}), ("aac", {}),
        ("flac", {"options": {"pcm": "noise"}}),
    ],
)  # fmt: skip
async def test_a_long_chunk_comes_in_several_files_of_at_most_a_megabyte(
    tmp_path: Path, form: str, fields: dict[str, Any]
) -> None:
    if why := missing(form):  # type: ignore[arg-type]
        pytest.skip(why)
    long_chunks = {"seconds_per_char": 0.07, "max_chars": 2000, "target_chars": 1900}
    async with running(tmp_path, backends={"scripted": long_chunks}) as caller:
        job_id = await caller.run(LONG[:1850], format=form, **fields)
        items, _ = await drain(caller, job_id)
        duration_ms = (await caller.status(job_id))["output"]["duration_ms"]
    assert len(items) >= 2
    assert [item["index"] for item in items] == list(range(len(items)))
    assert items[0]["text"].startswith("The long paragraph") and not any(item["text"] for item in items[1:])
    assert items[0]["start_ms"] == 0 and items[-1]["end_ms"] == duration_ms > 120_000
    assert [item["start_ms"] for item in items[1:]] == [item["end_ms"] for item in items[:-1]]
    for item in items:
        data = base64.b64decode(item["audio_base64"])
        assert len(data) <= 1_000_000
        heard_ms = samples_of(data, form, tmp_path) * 1000 / RATE
        lasts_ms = item["end_ms"] - item["start_ms"]
        # AAC fills its last frame, of 1024 samples, with silence.
        assert lasts_ms - 1 <= heard_ms <= lasts_ms + (44 if form == "aac" else 1)


def test_what_a_codec_makes_larger_than_its_samples_is_cut_once_more(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(-32768, 32768, 499_500, dtype=np.int16)
    part = ChunkAudio(0, "Hiss.", noise, RATE, 0, noise.size)
    items = items_of(part, SpeechRequest("Hiss.", format="flac"), 7, tmp_path / "spool")
    files = [base64.b64decode(item.audio_base64) for item in items]
    assert [item.index for item in items] == [7, 8]
    assert all(len(data) <= 1_000_000 for data in files)
    heard = np.concatenate([soundfile.read(io.BytesIO(data), dtype="int16")[0] for data in files])
    assert np.array_equal(heard, noise)
    assert not (tmp_path / "spool").exists()
