"""Jobs end correctly when their engine crashes, hangs or returns bad takes."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from support.after import rows, sound_of, spoken
from support.gates import let
from support.running import Caller, running

from gateway.speech.speak.retries import PAUSES_S

EIGHT = [f"Job number {word} has a sentence of its own." for word in "one two three four five six seven eight".split()]

pytestmark = pytest.mark.slow


def scripted(**settings: Any) -> dict[str, dict[str, Any]]:
    return {"scripted": {"concurrency": 8, "seconds_per_char": 0.005, **settings}}


def workers(caller: Caller) -> tuple[int, ...]:
    hosted = caller.gateway.engines.get("scripted")
    assert hosted is not None
    return hosted.host.state().pids


async def eight(caller: Caller, **options: Any) -> list[str]:
    return [await caller.run(text, options=options) for text in EIGHT]


async def under_way(caller: Caller, ids: list[str]) -> None:
    """Wait until an engine has them all in its hands."""
    hosted = caller.gateway.engines.get("scripted")
    assert hosted is not None
    await asyncio.gather(*(caller.until(job_id, "IN_PROGRESS") for job_id in ids))
    while hosted.host.state().waiting:
        await asyncio.sleep(0.01)
    assert hosted.host.state().running


async def test_eight_jobs_outlive_the_worker_that_spoke_them(tmp_path: Path) -> None:
    gate = let(tmp_path, 0)
    async with running(tmp_path, backends=scripted(gate=str(gate))) as caller:
        ids = await eight(caller)
        await under_way(caller, ids)
        os.kill(workers(caller)[0], signal.SIGKILL)
        let(tmp_path, 8)
        for job in [await caller.until(job_id) for job_id in ids]:
            sound_of(job)
            assert "retries" not in job, "a worker's death costs a job no attempt"


async def test_eight_jobs_outlive_a_worker_that_was_stopped(tmp_path: Path) -> None:
    gate = let(tmp_path, 0)
    async with running(tmp_path, backends=scripted(gate=str(gate), chunk_timeout_s=5)) as caller:
        ids = await eight(caller)
        await under_way(caller, ids)
        (stopped,) = workers(caller)
        os.kill(stopped, signal.SIGSTOP)
        let(tmp_path, 8)
        for job in [await caller.until(job_id) for job_id in ids]:
            sound_of(job)
            assert "retries" not in job, "a worker's death costs a job no attempt"
        assert stopped not in workers(caller)


@pytest.mark.parametrize("fault", ["hang", "crash", "raises"])
async def test_a_job_that_ends_its_worker_fails_with_its_text_and_seven_bystanders_are_spoken(
    tmp_path: Path, fault: str
) -> None:
    async with running(tmp_path, backends=scripted(chunk_timeout_s=1.5)) as caller:
        ids = await eight(caller, **{fault: True, "only": "three", "delay_s": 0.1})
        jobs = [await caller.until(job_id) for job_id in ids]
        guilty = jobs.pop(2)
        assert guilty["status"] == "FAILED"
        assert EIGHT[2] in guilty["error"]
        for job in jobs:
            sound_of(job)
        sound_of(await caller.say("Life goes on."))


BAD_TAKES: dict[str, tuple[dict[str, Any], str]] = {
    "it says that it failed": ({"fail": "the vocoder is on fire"}, "the vocoder is on fire"),
    "not a number": ({"pcm": "nan"}, "finite"),
    "silence": ({"pcm": "silence"}, "silen"),
    "the wrong rate": ({"pcm": "wrong_rate"}, "12000 Hz"),
    "no samples": ({"pcm": "empty"}, "no sound"),
    "nothing at all": ({"pcm": "nothing"}, "no take"),
}


async def test_a_failure_that_may_pass_is_tried_again_after_a_pause(tmp_path: Path) -> None:
    async with running(tmp_path) as caller:
        job = await caller.say("Too many requests.", options={"fail": "come back later", "retryable": True})
        assert job["status"] == "FAILED"
        assert job["executionTime"] >= 1000 * sum(PAUSES_S)
        refused = caller.gateway.metrics.take_failures.labels("scripted", "failed")._value.get()
        assert refused == 1 + len(PAUSES_S)


async def test_a_bad_take_fails_its_job_with_its_text_and_no_other(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(chunk_timeout_s=1.0)) as caller:
        bystanders = await eight(caller, delay_s=0.1)
        guilty = {name: await caller.run(f"Here comes {name}.", options=BAD_TAKES[name][0]) for name in BAD_TAKES}
        for name, job_id in guilty.items():
            job = await caller.until(job_id)
            assert job["status"] == "FAILED"
            assert BAD_TAKES[name][1] in job["error"]
            assert f"Here comes {name}." in job["error"]
        for job_id in bystanders:
            sound_of(await caller.until(job_id))


async def test_one_poisoned_chunk_of_a_hundred_is_named_and_once_mended_only_the_rest_is_spoken(tmp_path: Path) -> None:
    record, curse = tmp_path / "record", tmp_path / "curse"
    curse.write_text("Paragraph 57 ")
    text = "\n\n".join(f"Paragraph {n} says the number {n} in so many words." for n in range(100))
    backends = scripted(target_chars=50, record=str(record), curse=str(curse))
    async with running(tmp_path, backends=backends) as caller:
        job = await caller.until(await caller.run(text))
        assert job["status"] == "FAILED"
        assert "Paragraph 57 says the number 57" in job["error"]
        assert "Paragraph 56" not in job["error"]
        ((stored,),) = rows(tmp_path, "SELECT COUNT(*) FROM takes")
        assert stored > 40
        curse.write_text("")
        before = len(spoken(record))
        assert (await caller.post(f"retry/{job['id']}")).json()["status"] == "IN_QUEUE"
        job = await caller.until(job["id"])
        sound_of(job)
        assert job["output"]["chunks_processed"] == 100
        assert len(spoken(record)) - before == 100 - stored


async def test_a_mended_text_costs_only_the_paragraph_that_was_mended(tmp_path: Path) -> None:
    record = tmp_path / "record"
    paragraphs = [f"Paragraph {n} says the number {n} in so many words." for n in range(20)]
    backends = scripted(target_chars=50, record=str(record))
    options = {"fail": True, "only": "number 7 "}
    async with running(tmp_path, backends=backends) as caller:
        job = await caller.until(await caller.run("\n\n".join(paragraphs), options=options))
        assert job["status"] == "FAILED"
        assert paragraphs[7] in job["error"]
        ((stored,),) = rows(tmp_path, "SELECT COUNT(*) FROM takes")
        before = len(spoken(record))
        paragraphs[7] = "Paragraph seven was mended by its author."
        job = await caller.until(await caller.run("\n\n".join(paragraphs), options=options))
        sound_of(job)
        assert len(spoken(record)) - before == 20 - stored
        paragraphs[12] = "Paragraph twelve was edited afterwards."
        before = len(spoken(record))
        job = await caller.until(await caller.run("\n\n".join(paragraphs), options=options))
        sound_of(job)
        assert [text for text, _ in spoken(record)[before:]] == [paragraphs[12]]


async def test_a_model_that_cannot_load_ends_its_jobs_with_the_words_clients_know(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(load_fails="unavailable")) as caller:
        job = await caller.until(await caller.run(EIGHT[0]))
        assert job["status"] == "FAILED"
        assert job["error"].startswith("Model not initialized")
        assert "unset load_fails" in job["error"]


async def test_loading_is_delay_and_never_execution(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(load_s=1.5, min_workers=0)) as caller:
        job_id = await caller.run(EIGHT[0], options={"delay_s": 0.2})
        waiting = await caller.status(job_id)
        while waiting["status"] == "IN_QUEUE" and "loading" not in waiting["reason"]:
            await asyncio.sleep(0.02)
            waiting = await caller.status(job_id)
        assert waiting["reason"].startswith("loading")
        job = await caller.until(job_id)
        sound_of(job)
        assert job["delayTime"] >= 1500
        assert job["executionTime"] < 1500
