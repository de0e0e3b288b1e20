"""Tests of cloning: an uploaded recording becomes a voice that Chatterbox speaks with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.chatterbox_feed import ListFeed, chunk, spoken
from support.running import pcm_of, running
from support.voices import upload

from backends.chatterbox import ChatterboxSettings
from backends.interface import BackendContext, BackendUnavailable
from benchmarks.checkpoints import write_recording
from benchmarks.tiny import TinyChatterbox

GUARD_S = 300
TEXT = "The same words by two voices."


async def test_an_uploaded_recording_is_spoken_with(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backends.chatterbox.ChatterboxBackend", TinyChatterbox)
    write_recording(tmp_path / "high.wav", seconds=6.0, hertz=230.0)
    own: dict[str, Any] = {"model_path": str(checkpoint), "take_checks": False}
    async with running(tmp_path, plugins=("chatterbox",), device="cpu", backends={"chatterbox": own}) as caller:
        answer = await upload(caller, "high", (tmp_path / "high.wav").read_bytes())
        assert answer.status_code == 200, answer.text
        assert answer.json()["backends"] == ["chatterbox"]
        takes = []
        for voice in ("default", "high", "high"):
            job_id = await caller.run(TEXT, voice=voice, seed=7, format="wav", cache="off")
            takes.append(pcm_of(await caller.until(job_id, within_s=GUARD_S))[0])
        plain, high, again = takes
        np.testing.assert_array_equal(high, again)
        assert plain.shape != high.shape or np.abs(plain.astype(int) - high).max() > 100
        assert (await caller.http.delete("/v2/tests/voices/high")).status_code == 200
        refused = await caller.until(await caller.run(TEXT, voice="high"))
        assert refused["status"] == "FAILED" and "high" in refused["error"]


def test_recordings_in_a_folder_are_voices_for_everybody(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "voices"
    folder.mkdir()
    settings = ChatterboxSettings(model_path=str(checkpoint), voices_dir=str(folder))

    def asked() -> TinyChatterbox:
        return TinyChatterbox(settings, BackendContext(tmp_path, "cpu"))

    write_recording(folder / "low.wav", seconds=4.0, hertz=100.0)
    write_recording(folder / "high.flac", seconds=4.0, hertz=230.0)
    (folder / "notes.txt").write_text("not a voice")
    before = {voice.name: voice for voice in asked().voices()}
    assert sorted(before) == ["default", "high", "low"]
    backend = asked()
    backend.load(lambda share, text: None)
    feed = ListFeed(
        [chunk(0, TEXT, seed=7), *(chunk(n, TEXT, 7, before[name]) for n, name in ((1, "low"), (2, "high")))]
    )
    takes, failures = spoken(backend.synthesize(feed))
    backend.unload()
    assert not failures
    assert len({takes[n].pcm.tobytes() for n in range(3)}) == 3
    write_recording(folder / "low.wav", seconds=5.0, hertz=110.0)
    after = {voice.name: voice for voice in asked().voices()}
    assert after["low"].content_hash != before["low"].content_hash
    assert after["high"] == before["high"]
    write_recording(folder / "short.wav", seconds=1.0)
    with pytest.raises(BackendUnavailable, match=r"short\.wav lasts 1\.0 s; a voice needs 3 to 60 s"):
        asked().voices()
    (folder / "short.wav").write_bytes(b"no sound")
    with pytest.raises(BackendUnavailable, match=r"short\.wav cannot be read"):
        asked().voices()
