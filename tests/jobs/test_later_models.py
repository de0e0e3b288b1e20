"""A loaded worker that needs another model for some chunks: their callers wait, fall back, or are told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from support.after import sound_of
from support.running import Caller, running

from gateway.settings import JobSettings
from gateway.settings.model import EndpointSettings


def scripted(**settings: Any) -> dict[str, dict[str, Any]]:
    return {"scripted": {"later": "en", **settings}}


async def backend(caller: Caller) -> dict[str, Any]:
    health = (await caller.http.get(f"/v2/{caller.endpoint}/health")).json()
    return next(dict(one) for one in health["backends"] if one["name"] == "scripted")


async def restarts(caller: Caller) -> int:
    return int((await backend(caller)).get("restarts", 0))


async def test_a_model_that_cannot_be_had_fails_its_own_jobs_and_no_others(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(later_fails=True)) as caller:
        for n in range(2):
            failed = await caller.say(f"Sentence {n} is English.")
            assert failed["status"] == "FAILED"
            assert failed["error"] == "Model not initialized: the model of en cannot be loaded (unset later_fails)"
            sound_of(await caller.say(f"Der Satz {n} ist deutsch.", language="de"))
        assert await restarts(caller) == 0


async def test_where_the_endpoint_allows_it_another_backend_speaks_what_needs_a_model_that_cannot_be_had(
    tmp_path: Path,
) -> None:
    endpoints = {"tests": EndpointSettings(backend="scripted", policy={"fallback": ["hibari"]})}
    backends = scripted(later_fails=True)
    async with running(tmp_path, plugins=("scripted", "hibari"), backends=backends, endpoints=endpoints) as caller:
        for text, language, speaks in (
            ("This is English.", "en", "hibari"),
            ("Das ist Deutsch.", "de", "scripted"),
            ("And this, too.", "en", "hibari"),
        ):
            job = await caller.say(text, language=language)
            sound_of(job)
            assert job["output"]["backend"] == speaks
        assert await restarts(caller) == 0


async def test_a_job_that_waits_for_a_later_model_says_so_and_its_time_is_delay(tmp_path: Path) -> None:
    jobs = JobSettings(stall_timeout_s=4.0)
    async with running(tmp_path, backends=scripted(later_s=8.0, concurrency=2), jobs=jobs) as caller:
        sound_of(await caller.say("Der erste Satz.", language="de"))
        assert (await backend(caller))["state"] == "ready"
        waits = [
            await caller.run("This is limited in all.", policy={"executionTimeout": 5000}),
            await caller.run("This is limited by its last take."),
            await caller.run("Das kommt dazwischen.", language="de"),
        ]
        for job_id in waits:
            async with asyncio.timeout(30):
                while "pretending to load en" not in (job := await caller.status(job_id)).get("reason", ""):
                    assert "output" not in job, "it was spoken before anybody said what it waits for"
                    await asyncio.sleep(0.02)
            assert job["status"] == "IN_PROGRESS" and job["reason"].startswith("loading ")
        told = await backend(caller)
        assert (told["state"], told["reason"]) == ("loading", "pretending to load en")
        assert 0 <= told["loading_percent"] < 100
        done = [await caller.until(job_id) for job_id in waits]
        for job in done:
            sound_of(job)
        assert min(job["delayTime"] for job in done[:2]) > 7000
        assert (await backend(caller))["state"] == "ready"
        assert await restarts(caller) == 0
