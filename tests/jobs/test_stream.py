from __future__ import annotations

import asyncio
import base64
import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from support.running import Caller, pcm_of, running

TEXT = "\n\n".join(f"Paragraph number {n} says something of its own, and then it ends." for n in range(6))
SLOW = {"chunk_delay_s": 0.4}


async def poll(caller: Caller, job_id: str, **params: Any) -> dict[str, Any]:
    answer = await caller.http.get(f"/v2/{caller.endpoint}/stream/{job_id}", params=params)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def drain(caller: Caller, job_id: str) -> tuple[list[dict[str, Any]], int]:
    """Every item, and how many polls gave some while the job was still running."""
    items, early = [], 0
    async with asyncio.timeout(60):
        while True:
            page = await poll(caller, job_id)
            assert page["status"] in ("IN_QUEUE", "IN_PROGRESS", "COMPLETED"), page
            items += [item["output"] for item in page["stream"]]
            early += bool(page["stream"]) and page["status"] == "IN_PROGRESS"
            if page["status"] == "COMPLETED" and not page["stream"]:
                return items, early


def joined(items: list[dict[str, Any]]) -> np.ndarray:
    parts = [soundfile.read(io.BytesIO(base64.b64decode(i["audio_base64"])), dtype="int16")[0] for i in items]
    return np.concatenate(parts)


@pytest.mark.parametrize("form", ["wav", "mp3"])
async def test_items_come_while_the_job_runs_and_joined_they_are_the_whole(tmp_path: Path, form: str) -> None:
    async with running(tmp_path) as caller:
        job_id = await caller.run(TEXT, format=form, options=SLOW, speed=1.25)
        items, early = await drain(caller, job_id)
        assert early >= 1
        assert [item["index"] for item in items] == list(range(6))
        assert all(item["text"].startswith(f"Paragraph number {n}") for n, item in enumerate(items))
        whole, rate = pcm_of(await caller.status(job_id))
        assert len(joined(items)) == len(whole)
        if form == "wav":
            assert np.array_equal(joined(items), whole)
        assert items[-1]["end_ms"] == round(len(whole) * 1000 / rate)
        assert (await poll(caller, job_id)) == {"status": "COMPLETED", "stream": []}


async def test_reading_from_an_item_gives_nothing_out(tmp_path: Path) -> None:
    async with running(tmp_path) as caller:
        job_id = await caller.run(TEXT, format="wav")
        await caller.until(job_id)
        again = [(await poll(caller, job_id, **{"from": 2}))["stream"] for _ in range(2)]
        assert again[0] == again[1]
        assert [item["output"]["index"] for item in again[0]] == [2, 3, 4, 5]
        items, _ = await drain(caller, job_id)
        assert len(items) == 6


async def test_a_job_answered_from_the_cache_streams_without_its_takes(tmp_path: Path) -> None:
    async with running(tmp_path) as caller:
        first = await caller.say(TEXT, format="wav")
        whole, _ = pcm_of(first)
        await caller.gateway._database.writer.run(lambda conn: conn.exec_driver_sql("DELETE FROM takes"))
        job_id = await caller.run(TEXT, format="wav")
        items, _ = await drain(caller, job_id)
        assert abs(len(joined(items)) - len(whole)) <= 24
        assert len(items) == 6


async def test_another_server_of_the_same_database_serves_the_stream(tmp_path: Path) -> None:
    async with running(tmp_path) as one, running(tmp_path) as other:
        job_id = await one.run(TEXT, format="wav", options=SLOW)
        there = Caller(other.gateway, other.http)
        items, early = await drain(there, job_id)
        assert early >= 1
        whole, _ = pcm_of(await one.status(job_id))
        assert np.array_equal(joined(items), whole)


async def test_a_poll_that_is_dropped_loses_no_item(tmp_path: Path) -> None:
    async with running(tmp_path) as caller:
        job_id = await caller.run(TEXT, format="wav", options={"chunk_delay_s": 0.4})
        for _ in range(4):
            with pytest.raises(httpx.ReadTimeout):
                await caller.http.get(f"/v2/{caller.endpoint}/stream/{job_id}", timeout=0.05)
        items, _ = await drain(caller, job_id)
        assert [item["index"] for item in items] == list(range(6))


async def test_a_failed_job_says_why_and_a_long_wav_chunk_comes_in_several_files(tmp_path: Path) -> None:
    async with running(tmp_path, backends={"scripted": {"seconds_per_char": 0.3}}) as caller:
        failed = await caller.run(TEXT, options={"fail": "no such word"})
        await caller.until(failed)
        page = await poll(caller, failed)
        assert page["status"] == "FAILED" and page["stream"] == [] and "no such word" in page["error"]
        text = "This one sentence of about one hundred characters takes half a minute to be spoken by its engine."
        job_id = await caller.run(text, format="wav")
        items, _ = await drain(caller, job_id)
        assert len(items) == 2
        assert all(len(base64.b64decode(item["audio_base64"])) <= 1_000_000 for item in items)
        whole, _ = pcm_of(await caller.status(job_id))
        assert np.array_equal(joined(items), whole)
