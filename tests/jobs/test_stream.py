from __future__ import annotations

import asyncio
import base64
import json
import time
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import httpx
import numpy as np
import pytest
from support.gates import let
from support.running import Caller, pcm_of, running
from support.served import site
from support.streaming import asking, drain, joined, poll

from gateway.settings import JobSettings

TEXT = "\n\n".join(f"Paragraph number {n} says something of its own, and then it ends." for n in range(6))
SLOW = {"chunk_delay_s": 0.4}


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
    gate = let(tmp_path, 0)
    async with running(tmp_path, backends={"scripted": {"target_chars": 50, "gate": str(gate)}}) as caller:
        job_id = await caller.run(TEXT, format="wav")
        for _ in range(4):
            with pytest.raises(httpx.ReadTimeout):
                leaving = httpx.Timeout(60, read=0.05)
                await caller.http.get(f"/v2/{caller.endpoint}/stream/{job_id}", timeout=leaving)
        let(tmp_path, 1000)
        items, _ = await drain(caller, job_id)
        assert [item["index"] for item in items] == list(range(6))


@pytest.mark.parametrize("seconds_per_char", [0.06, 0.25], ids=["short items", "long items"])
async def test_an_answer_that_is_cut_in_the_middle_counts_as_not_given(tmp_path: Path, seconds_per_char: float) -> None:
    async with site(tmp_path, BACKENDS__SCRIPTED__SECONDS_PER_CHAR=seconds_per_char) as servers:
        served = await servers.start()
        job_id = await served.caller.run(TEXT, format="wav")
        await served.caller.until(job_id)
        path = f"/v2/{served.caller.endpoint}/stream/{job_id}"
        for _ in range(2):
            async with asking(served.url, path) as asker:
                assert (await asyncio.get_running_loop().sock_recv(asker, 1000)).startswith(b"HTTP/1.1 200")
                # Longer than the server would need to send it all.
                assert len((await poll(served.caller, job_id, **{"from": 0}))["stream"]) >= 1
        items, _ = await drain(served.caller, job_id)
        assert [item["index"] for item in items] == list(range(6))


async def test_who_reads_slowly_is_given_every_item_once(tmp_path: Path) -> None:
    async with site(tmp_path, BACKENDS__SCRIPTED__SECONDS_PER_CHAR=0.06) as servers:
        served = await servers.start()
        job_id = await served.caller.run(TEXT, format="wav")
        await served.caller.until(job_id)
        async with asking(served.url, f"/v2/{served.caller.endpoint}/stream/{job_id}") as asker:
            answer = bytearray()
            while not answer.endswith(b"]}"):
                answer += await asyncio.get_running_loop().sock_recv(asker, 4096)
        page = json.loads(answer.partition(b"\r\n\r\n")[2])
        first = [item["output"]["index"] for item in page["stream"]]
        items, _ = await drain(served.caller, job_id)
        assert [*first, *(item["index"] for item in items)] == list(range(6))


async def test_an_answer_holds_two_megabytes_and_the_next_one_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path, backends={"scripted": {"seconds_per_char": 0.1}}) as caller:
        job_id = await caller.run(TEXT, format="wav")
        await caller.until(job_id)
        pages = [await poll(caller, job_id) for _ in range(3)]
        numbers = [[item["output"]["index"] for item in page["stream"]] for page in pages]
        assert [page["status"] for page in pages] == ["IN_PROGRESS", "COMPLETED", "COMPLETED"]
        assert [n for page in numbers for n in page] == list(range(6)) and len(numbers[0]) >= 2
        for page in pages:
            assert sum(len(item["output"]["audio_base64"]) for item in page["stream"]) <= 2_000_000


async def everything(caller: Caller, job_id: str) -> tuple[str, list[dict[str, Any]]]:
    """Poll `/stream` until the job ends; return its last status and all items received."""
    items: list[dict[str, Any]] = []
    async with asyncio.timeout(60):
        while True:
            page = await poll(caller, job_id)
            items += [item["output"] for item in page["stream"]]
            if not page["stream"] and page["status"] not in ("IN_QUEUE", "IN_PROGRESS"):
                return page["status"], items


async def test_a_job_that_is_retried_is_streamed_whole_again(tmp_path: Path) -> None:
    curse = tmp_path / "curse"
    curse.write_text("number 4 ")
    async with running(tmp_path, backends={"scripted": {"target_chars": 50, "curse": str(curse)}}) as caller:
        job_id = await caller.run(TEXT, format="wav")
        assert await everything(caller, job_id) == ("FAILED", ANY)
        curse.write_text("")
        assert (await caller.post(f"retry/{job_id}")).json()["status"] == "IN_QUEUE"
        state, items = await everything(caller, job_id)
        assert state == "COMPLETED"
        whole, _ = pcm_of(await caller.status(job_id))
        assert np.array_equal(joined(items), whole)


async def test_a_job_that_was_out_of_time_streams_what_it_has_again_after_a_retry(tmp_path: Path) -> None:
    async with running(tmp_path, jobs=JobSettings(stall_timeout_s=2.0)) as caller:
        job_id = await caller.run(TEXT, format="wav", options={"delay_s": 120, "only": "number 4 "})
        first = await everything(caller, job_id)
        assert (first[0], [item["index"] for item in first[1]]) == ("TIMED_OUT", [0, 1, 2, 3])
        assert (await caller.post(f"retry/{job_id}")).json()["status"] == "IN_QUEUE"
        assert await everything(caller, job_id) == first


@pytest.mark.slow
async def test_a_poll_is_held_as_long_as_it_says_but_not_above_eight_seconds(tmp_path: Path) -> None:
    async with running(tmp_path) as caller:
        job_id = await caller.run(TEXT, options={"delay_s": 120})

        async def held_s(**params: Any) -> float:
            began = time.monotonic()
            assert (await poll(caller, job_id, **params))["stream"] == []
            return time.monotonic() - began

        short, long, unsaid = await asyncio.gather(held_s(wait=1000), held_s(wait=300_000), held_s())
        assert 1 <= short < 8 <= min(long, unsaid)
        assert max(long, unsaid) < 40
        for wait in (999, 300_001):
            answer = await caller.http.get(f"/v2/{caller.endpoint}/stream/{job_id}", params={"wait": wait})
            assert answer.status_code == 400
            assert answer.json()["error"] == "wait is invalid; must be between 1000 and 300000"
        await caller.post(f"cancel/{job_id}")


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


async def test_a_job_answered_from_memory_streams_at_once_and_once(tmp_path: Path) -> None:
    async with running(tmp_path) as caller:
        spoken = await caller.say(TEXT, format="wav")
        hit = await caller.say(TEXT, format="wav")
        assert hit["output"]["cache_hit"] is True and hit["id"] != spoken["id"]
        items, _ = await drain(caller, hit["id"])  # its row may not be written yet
        np.testing.assert_array_equal(joined(items), pcm_of(hit)[0])
        assert (await poll(caller, hit["id"]))["stream"] == []
