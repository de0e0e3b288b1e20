"""A caller that asks for the time of each word gets it, as accurate as it is heard, however the audio came about."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.after import rows, spoken
from support.gates import let
from support.running import Caller, pcm_of, running
from support.streaming import drain
from support.subtitles import read_vtt

from gateway.settings.model import CacheSettings, JobSettings

TEXT = (
    "Seven brave words are spoken here today. The second sentence is the longer one of these two.\n\n"
    "And a third follows."
)
SPACED = 0.06
"""Seconds of a character: a space is then a silence that is heard."""


@asynccontextmanager
async def timed(folder: Path, **fields: Any) -> AsyncIterator[Caller]:
    scripted = {"words": True, "seconds_per_char": SPACED, "max_chars": 60, "target_chars": 50}
    scripted |= {"record": str(folder / "record"), **fields.pop("scripted", {})}
    async with running(folder, backends={"scripted": scripted}, **fields) as caller:
        yield caller


def heard_ms(job: dict[str, Any]) -> np.ndarray:
    """Begin and end in ms of each stretch of sound, by half of its level over 4 ms."""
    pcm, rate = pcm_of(job)
    level = np.sqrt(np.convolve(pcm.astype(np.float64) ** 2, np.ones(96) / 96, "same"))
    loud = np.flatnonzero(level > 0.5 * np.median(level[level > 0.02 * level.max()]))
    breaks = np.flatnonzero(np.diff(loud) > rate * 0.02)
    return np.stack((loud[np.r_[0, breaks + 1]], loud[np.r_[breaks, loud.size - 1]] + 1), axis=1) * 1000 / rate


def told_ms(words: list[dict[str, Any]]) -> np.ndarray:
    return np.array([(word["start_ms"], word["end_ms"]) for word in words])


@pytest.mark.parametrize("speed", [1.0, 0.5, 0.8, 1.6])
async def test_every_word_is_told_within_15_ms_of_where_it_is_heard(tmp_path: Path, speed: float) -> None:
    async with timed(tmp_path) as caller:
        job = await caller.say(TEXT, words=True, format="wav", speed=speed)
    words = job["output"]["words"]
    assert len(job["output"]["chunks"]) > 2
    assert [word["word"] for word in words] == TEXT.split()
    assert np.abs(told_ms(words) - heard_ms(job)).max() < 15


async def test_words_come_only_where_they_are_asked_for_and_cost_no_second_take(tmp_path: Path) -> None:
    async with timed(tmp_path) as caller:
        plain = await caller.say(TEXT, format="wav")
        assert not {"words", "words_url"} & plain["output"].keys()
        takes = len(spoken(tmp_path / "record"))
        first = await caller.say(TEXT, format="wav", words=True)
        again = await caller.say(TEXT, format="wav", words=True)
        mp3 = await caller.say(TEXT, words=True)
        slow = await caller.say(TEXT, format="wav", words=True, speed=0.75)
        assert len(spoken(tmp_path / "record")) == takes
        assert again["output"]["cache_hit"] is True
        assert first["output"]["words"] == again["output"]["words"] == mp3["output"]["words"]
        assert first["output"]["audio_base64"] == plain["output"]["audio_base64"]
        assert np.abs(told_ms(slow["output"]["words"]) - heard_ms(slow)).max() < 15
        assert (await caller.say(TEXT, format="wav"))["output"].keys() == plain["output"].keys()


async def test_a_resumed_job_has_the_words_of_the_takes_it_finds(tmp_path: Path) -> None:
    async with timed(tmp_path / "whole") as caller:
        whole = await caller.say(TEXT, words=True, format="wav")
    folder = tmp_path / "broken"
    folder.mkdir()
    gate = {"gate": str(let(folder, 1))}
    async with timed(folder, shutdown_grace_s=0.1, scripted=gate) as caller:
        job_id = await caller.run(TEXT, words=True, format="wav")
        async with asyncio.timeout(30):
            while (await caller.status(job_id)).get("progress", {}).get("chunks_done") != 1:
                await asyncio.sleep(0.02)
    let(folder, 99)
    async with timed(folder, scripted=gate) as caller:
        resumed = await caller.until(job_id)
    texts = [text for text, _ in spoken(folder / "record")]
    assert len(texts) == len(set(texts)) == len(resumed["output"]["chunks"])
    assert resumed["output"]["words"] == whole["output"]["words"]


async def test_many_words_are_in_a_file_of_their_own_that_stays_as_long_as_the_audio(tmp_path: Path) -> None:
    often = CacheSettings(sweep_every_s=0.2, blob_grace_s=0.3)
    async with timed(tmp_path, cache=often, max_inline_words_bytes=100) as caller:
        made = await caller.say(TEXT, words=True)
        assert "words" not in made["output"]
        hit = await caller.say(TEXT, words=True)
        hot = await caller.say(TEXT, words=True)
        assert hit["output"]["cache_hit"] is hot["output"]["cache_hit"] is True
        await asyncio.sleep(1)  # sweeps run meanwhile
        for job in (made, hit, hot, await caller.status(made["id"])):
            answer = await caller.http.get(job["output"]["words_url"], headers={"Authorization": ""})
            assert answer.headers["content-type"] == "application/json"
            assert [word["word"] for word in answer.json()] == TEXT.split()
        wrong = re.sub("signature=.", "signature=", made["output"]["words_url"])
        assert (await caller.http.get(wrong)).status_code == 403


async def test_a_file_of_words_goes_with_the_audio_it_belongs_to(tmp_path: Path) -> None:
    often = CacheSettings(sweep_every_s=0.2, blob_grace_s=0.3)
    jobs = JobSettings(retention_run_s=1.0)
    async with timed(tmp_path, cache=often, jobs=jobs, max_inline_words_bytes=100) as caller:
        job_id = await caller.run(TEXT, words=True, cache="off")
        assert "words_url" in (await caller.until(job_id))["output"]
        async with asyncio.timeout(30):
            while rows(tmp_path, "SELECT 1 FROM blobs WHERE suffix = '.json'") or kept(tmp_path):
                await asyncio.sleep(0.05)


def kept(folder: Path) -> list[Path]:
    return list((folder / "audio").glob("??/??/*.json"))


async def test_a_backend_that_gives_no_word_times_says_so_and_strict_refuses(tmp_path: Path) -> None:
    async with timed(tmp_path, scripted={"words": False}) as caller:
        job = await caller.say("A sentence without times.", words=True)
        assert "words" not in job["output"]
        [warning] = job["output"]["warnings"]
        assert warning["code"] == "no_word_times"
        refused = await caller.say("A sentence without times.", words=True, strict=True)
        assert refused["status"] == "FAILED"
        assert "cannot tell when each word is spoken" in refused["error"]
        bad = await caller.say("A sentence.", words="yes")
        assert "words must be true or false" in bad["error"]


async def test_the_items_of_a_stream_have_the_words_of_their_chunks(tmp_path: Path) -> None:
    async with timed(tmp_path) as caller:
        job_id = await caller.run(TEXT, words=True)
        job = await caller.until(job_id)
        items, _ = await drain(caller, job_id)
        assert [word for item in items for word in item.get("words", [])] == job["output"]["words"]
        database = caller.gateway._database
        await database.writer.run(lambda conn: conn.exec_driver_sql("DELETE FROM takes"))
        hit = await caller.run(TEXT, words=True)  # its items are cut from the file
        items, _ = await drain(caller, hit)
        assert [word for item in items for word in item.get("words", [])] == job["output"]["words"]


async def test_subtitles_are_cut_where_the_words_are(tmp_path: Path) -> None:
    text = f"{'A' * 29} a a a a a a a a a a a a a a a a a {'b' * 34} c c c c c c d."
    async with timed(tmp_path, scripted={"max_chars": 300, "target_chars": 240}) as caller:
        job = await caller.say(text, words=True)
        file = await caller.http.get(f"/v2/{caller.endpoint}/subtitles/{job['id']}.vtt")
    cues = read_vtt(file.text)
    starts = {word["start_ms"] for word in job["output"]["words"]}
    assert len(cues) > 1
    assert {cue.start_ms for cue in cues[1:]} <= starts
