"""Several jobs for one utterance: one leads, the others follow, and nobody is left behind when the leader falls."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.after import rows, sound_of, spoken
from support.running import Caller, running

from gateway.settings import EndpointSettings, JobSettings

TEXT = "All of us want to hear this sentence."


def scripted(tmp_path: Path, **settings: Any) -> dict[str, dict[str, Any]]:
    return {"scripted": {"seconds_per_char": 0.005, "record": str(tmp_path / "record"), **settings}}


async def flight(caller: Caller, followers: int = 3, **fields: Any) -> tuple[str, list[str]]:
    """A leader that runs, and those who wait for it."""
    policy = fields.pop("leader", {})
    leader = await caller.run(TEXT, **fields, **policy)
    await caller.until(leader, "IN_PROGRESS")
    return leader, [await caller.run(TEXT, **fields) for _ in range(followers)]


async def test_followers_are_finished_by_their_leader_and_cost_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        leader, followers = await flight(caller, options={"delay_s": 2.0})
        first = await caller.until(leader)
        for job in [await caller.until(job_id) for job_id in followers]:
            sound_of(job)
            assert job["output"]["cache_hit"] is True
            assert job["output"]["audio_base64"] == first["output"]["audio_base64"]
            assert job["executionTime"] == 0
        assert len(spoken(tmp_path / "record")) == 1
        ((jobs, hits),) = rows(tmp_path, "SELECT SUM(jobs), SUM(cache_hits) FROM usage")
        assert (jobs, hits) == (4, 3)


async def test_followers_are_warned_of_what_they_do_not_get_as_asked(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path, seed=False)) as caller:
        leader, followers = await flight(caller, seed=7, options={"delay_s": 2.0})
        for job_id in (leader, *followers):
            warnings = (await caller.until(job_id))["output"]["warnings"]
            assert [warning["code"] for warning in warnings] == ["seed_not_honoured"]
        assert len(spoken(tmp_path / "record")) == 1


async def test_a_cancelled_leader_hands_on_to_the_oldest_follower(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        leader, followers = await flight(caller, options={"delay_s": 2.0})
        assert (await caller.post(f"cancel/{leader}")).json()["status"] == "CANCELLED"
        jobs = [await caller.until(job_id) for job_id in followers]
        for job in jobs:
            sound_of(job)
        assert [job["output"]["cache_hit"] for job in jobs] == [False, True, True]
        assert (await caller.status(leader))["status"] == "CANCELLED"
        assert len(spoken(tmp_path / "record")) == 1


async def test_a_cancelled_follower_leaves_the_flight_alone(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        leader, followers = await flight(caller, options={"delay_s": 2.0})
        await caller.post(f"cancel/{followers[0]}")
        sound_of(await caller.until(leader))
        sound_of(await caller.until(followers[1]))
        assert (await caller.status(followers[0]))["status"] == "CANCELLED"


async def test_what_is_wrong_with_the_input_is_wrong_for_all_who_sent_it(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        options = {"delay_s": 2.0, "fail": "these letters are not mine", "kind": "unsupported_text"}
        leader, followers = await flight(caller, options=options)
        for job_id in (leader, *followers):
            job = await caller.until(job_id)
            assert job["status"] == "FAILED"
            assert "these letters are not mine" in job["error"]
        assert len(spoken(tmp_path / "record")) == 1


async def test_an_engine_that_fails_its_leader_is_asked_again_by_every_follower(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        leader, followers = await flight(caller, options={"delay_s": 0.2, "fail": "out of breath"})
        for job_id in (leader, *followers):
            job = await caller.until(job_id)
            assert job["status"] == "FAILED"
            assert "out of breath" in job["error"]
        assert len(spoken(tmp_path / "record")) == 4


@pytest.mark.slow
async def test_a_leader_that_timed_out_hands_on(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path), jobs=JobSettings(stall_timeout_s=30)) as caller:
        leader, followers = await flight(
            caller, options={"delay_s": 6}, followers=1, leader={"policy": {"executionTimeout": 5000}}
        )
        assert (await caller.until(leader))["status"] == "TIMED_OUT"
        sound_of(await caller.until(followers[0]))


async def test_followers_of_a_leader_that_fell_back_get_what_it_spoke(tmp_path: Path) -> None:
    endpoints = {"tests": EndpointSettings(backend="scripted", policy={"fallback": ["hibari"]})}
    backends = scripted(tmp_path, load_fails="unavailable", load_s=1.0)
    async with running(tmp_path, plugins=("scripted", "hibari"), backends=backends, endpoints=endpoints) as caller:
        ids = [await caller.run(TEXT) for _ in range(4)]
        jobs = [await caller.until(job_id) for job_id in ids]
        for job in jobs:
            sound_of(job)
            assert job["output"]["backend"] == "hibari"
        assert len({job["output"]["audio_base64"] for job in jobs}) == 1
        assert Counter(job["output"]["cache_hit"] for job in jobs) == {True: 3, False: 1}


async def test_chunks_in_flight_are_shared_by_jobs_that_differ_only_in_form(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        options = {"delay_s": 2.0}
        slow = asyncio.create_task(caller.say(TEXT, options=options, speed=0.8))
        forms = [caller.say(TEXT, options=options, format=form) for form in ("mp3", "wav", "flac", "opus")]
        jobs = await asyncio.gather(*forms, slow)
        for job in jobs:
            sound_of(job)
        assert len(spoken(tmp_path / "record")) == 1
        assert jobs[-1]["output"]["duration_ms"] > jobs[0]["output"]["duration_ms"] * 1.1


async def test_a_job_whose_chunk_was_led_by_a_cancelled_one_is_spoken_all_the_same(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        options = {"delay_s": 2.0}
        leader = await caller.run(TEXT, options=options, format="mp3")
        await caller.until(leader, "IN_PROGRESS")
        other = await caller.run(TEXT, options=options, format="wav")
        await caller.until(other, "IN_PROGRESS")
        await asyncio.sleep(0.1)
        await caller.post(f"cancel/{leader}")
        sound_of(await caller.until(other))
        assert len(spoken(tmp_path / "record")) == 1
        async with asyncio.timeout(30):
            while rows(tmp_path, "SELECT COUNT(*) FROM takes") != [(1,)]:
                await asyncio.sleep(0.05)
