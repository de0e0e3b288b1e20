from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from support.running import pcm_of, running

from benchmarks.texts import story
from gateway.speech.sound.finish import Finish, finish_take
from gateway.speech.speak.take_store import StoredTakes

TEXT = "The birch canoe slid on the smooth planks. Glue the sheet to the dark blue background."


async def test_a_text_becomes_audio_and_the_same_again_comes_from_the_cache(tmp_path: Path) -> None:
    async with running(tmp_path) as caller:
        first = await caller.say(TEXT)
        samples, rate = pcm_of(first)
        output = first["output"]
        assert output["cache_hit"] is False
        assert output["mimetype"] == "audio/mpeg"
        assert output["backend"] == "scripted"
        assert round(len(samples) * 1000 / rate) == output["duration_ms"]
        assert output["chunks"][-1]["end_ms"] == output["duration_ms"]
        again = await caller.say(TEXT)
        assert again["output"]["cache_hit"] is True
        assert again["output"]["audio_base64"] == output["audio_base64"]
        assert again["output"]["cache_key"] == output["cache_key"]
        later = await caller.status(again["id"])
        assert later["output"]["audio_base64"] == output["audio_base64"]


async def test_fifty_equal_requests_at_once_are_one_synthesis(tmp_path: Path) -> None:
    async with running(tmp_path) as caller:
        jobs = await asyncio.gather(*(caller.say(TEXT, options={"delay_s": 0.3}) for _ in range(50)))
        assert {job["status"] for job in jobs} == {"COMPLETED"}
        assert len({job["output"]["audio_base64"] for job in jobs}) == 1
        assert sum(not job["output"]["cache_hit"] for job in jobs) == 1
        assert (
            caller.gateway.metrics.takes.labels("scripted", "spoken")._value.get()
            == jobs[0]["output"]["chunks_processed"]
        )


async def test_mp3_and_wav_of_one_text_are_one_synthesis(tmp_path: Path) -> None:
    async with running(tmp_path) as caller:
        mp3 = await caller.say(TEXT, format="mp3")
        wav = await caller.say(TEXT, format="wav")
        assert wav["output"]["cache_hit"] is False
        assert mp3["output"]["duration_ms"] == wav["output"]["duration_ms"]
        spoken = caller.gateway.metrics.takes.labels("scripted", "spoken")._value.get()
        assert spoken == mp3["output"]["chunks_processed"]


async def test_the_take_of_a_sentence_somebody_waits_for_is_stored_like_any_other(tmp_path: Path) -> None:
    async with running(tmp_path) as caller:
        heard, rate = pcm_of(await caller.say("The birch canoe slid on.", format="wav"))
        async with asyncio.timeout(30):
            while not (takes := list(tmp_path.rglob("??/??/*.flac"))):
                await asyncio.sleep(0.02)
    (take,) = takes
    assert take.read_bytes().startswith(b"fLaC")
    stored, stored_rate = soundfile.read(take, dtype="int16")
    assert stored_rate == rate
    assert np.array_equal(finish_take(stored, rate, Finish()).pcm, heard)


async def test_a_chunk_its_engine_calls_too_long_is_spoken_in_pieces_and_kept_as_one(tmp_path: Path) -> None:
    text = "The long sentence goes on, " + "and on, " * 20 + "until its engine has had enough of it."
    options = {"fail": True, "kind": "too_long", "only": text[10:-10]}
    async with running(tmp_path) as caller:
        job = await caller.say(text, options=options)
        assert job["status"] == "COMPLETED", job
        assert job["output"]["chunks_processed"] == 1
        assert job["output"]["chunks"][0]["text"] == text
        spoken = caller.gateway.metrics.takes.labels("scripted", "spoken")._value.get()
        assert spoken >= 2
        wav = await caller.say(text, options=options, format="wav")
        assert wav["output"]["duration_ms"] == job["output"]["duration_ms"]
        assert caller.gateway.metrics.takes.labels("scripted", "spoken")._value.get() == spoken


async def test_strict_is_about_the_request_and_not_about_a_setting_its_caller_cannot_change(tmp_path: Path) -> None:
    async with running(tmp_path, max_chars_per_chunk=500) as caller:
        job = await caller.say(TEXT, strict=True)
        assert [warning["code"] for warning in job["output"]["warnings"]] == ["max_chars_clamped"]
        pcm_of(job)


async def test_a_text_that_no_wav_can_hold_is_refused_before_a_word_is_spoken(tmp_path: Path) -> None:
    text = story(1_500_000)  # 26 hours; a file of 4 GiB holds less than 25
    async with running(tmp_path) as caller:
        job = await caller.until(await caller.run(text, format="wav"))
        assert job["status"] == "FAILED"
        assert "use mp3" in job["error"]
        assert caller.gateway.metrics.takes.labels("scripted", "spoken")._value.get() == 0


@pytest.mark.slow
@pytest.mark.parametrize("meanwhile", ["beat", "cancel", "stop"])
async def test_what_happens_while_the_takes_of_an_answered_job_are_stored_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    store, begun, go_on = StoredTakes.store, asyncio.Event(), asyncio.Event()

    async def slowly(self: StoredTakes, *args: Any) -> None:
        begun.set()
        await go_on.wait()
        await store(self, *args)

    monkeypatch.setattr(StoredTakes, "store", slowly)
    async with running(tmp_path, shutdown_grace_s=0.1) as caller:
        job = await caller.say("Only one chunk.")
        assert job["status"] == "COMPLETED"
        await begun.wait()
        if meanwhile == "beat":
            await caller.gateway._leases.beat()
        elif meanwhile == "cancel":
            await caller.post(f"cancel/{job['id']}")
        else:
            asyncio.get_running_loop().call_later(0.5, go_on.set)
        if meanwhile != "stop":
            go_on.set()
            async with asyncio.timeout(30):
                while caller.gateway._claimer.running:
                    await asyncio.sleep(0.02)
            assert (await caller.say("Only one chunk.", format="wav"))["output"]["cache_hit"] is False
            assert caller.gateway.metrics.takes.labels("scripted", "stored")._value.get() == 1, "the take was kept"
    assert list((tmp_path / "audio" / "tmp").iterdir()) == []
