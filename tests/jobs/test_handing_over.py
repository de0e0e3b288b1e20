"""A text that the endpoint's backend turns out not to be able to speak, found while it speaks: its fallbacks may."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.after import rows, sound_of, spoken
from support.running import Caller, running
from support.streaming import drain, joined, poll

from gateway.settings import EndpointSettings, JobSettings

ENGLISH = "This is said by whoever speaks English."
TEXT = f"{ENGLISH}\n\nПривет, мир!"
LONG = "\n\n".join(f"Paragraph number {n} is in English." for n in range(40)) + "\n\nПривет, мир!"


def settings(tmp_path: Path, first: str = "hibari", then: str = "scripted", **scripted: Any) -> dict[str, Any]:
    """Of an endpoint whose first backend speaks English letters only."""
    return {
        "plugins": ("hibari", "scripted"),
        "endpoints": {"tests": EndpointSettings(backend=first, policy={"fallback": [then]})},
        "backends": {"scripted": {"seconds_per_char": 0.005, "record": str(tmp_path / "record"), **scripted}},
    }


async def test_a_fallback_speaks_the_whole_of_what_the_first_turns_out_not_to_be_able_to(tmp_path: Path) -> None:
    async with running(tmp_path, **settings(tmp_path)) as caller:
        first, again = await caller.say(TEXT), await caller.say(TEXT)
        for job in (first, again):
            sound_of(job)
            assert job["output"]["backend"] == "scripted"
            assert [chunk["text"] for chunk in job["output"]["chunks"]] == TEXT.split("\n\n")
        assert sorted(text for text, _ in spoken(tmp_path / "record")) == sorted(TEXT.split("\n\n"))
        assert [job["output"]["cache_hit"] for job in (first, again)] == [False, True]
        assert first["output"]["cache_key"] == again["output"]["cache_key"]
        assert (await caller.say(ENGLISH))["output"]["backend"] == "hibari", "what it can speak stays its own"
        assert rows(tmp_path, "SELECT backend, SUM(jobs), SUM(cache_hits) FROM usage GROUP BY backend ORDER BY 1") == [
            ("hibari", 1, 0),
            ("scripted", 2, 1),
        ]


async def test_those_who_wait_for_the_first_get_what_the_fallback_spoke(tmp_path: Path) -> None:
    async with running(tmp_path, **settings(tmp_path)) as caller:
        ids = [await caller.run(TEXT) for _ in range(4)]
        jobs = [await caller.until(job_id) for job_id in ids]
        for job in jobs:
            sound_of(job)
            assert job["output"]["backend"] == "scripted"
        assert Counter(job["output"]["cache_hit"] for job in jobs) == {True: 3, False: 1}


async def test_where_no_fallback_can_the_first_error_is_told_with_who_could_and_what_the_others_lacked(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, **settings(tmp_path, load_fails="unavailable")) as caller:
        job = await caller.say(TEXT)
        assert job["status"] == "FAILED"
        assert job["error"].startswith("this voice cannot speak Cyrillic script: it speaks English (text: 'Привет")
        assert "; scripted can: set 'backend' and 'language'. `voxgate backends`" in job["error"]
        assert job["error"].endswith(
            "`voxgate backends` lists all. Its fallbacks: scripted was told to be unavailable (unset load_fails)"
        )
        assert rows(tmp_path, "SELECT backend, error_code FROM jobs") == [("hibari", "unsupported_text")]


async def test_a_first_backend_that_is_away_is_told_before_a_fallback_that_cannot(tmp_path: Path) -> None:
    fields = settings(tmp_path, "scripted", "hibari", load_fails="unavailable")
    async with running(tmp_path, **fields) as caller:
        job = await caller.say(TEXT)
        assert job["error"].startswith(
            "Model not initialized: scripted was told to be unavailable (unset load_fails). "
            "Its fallbacks: this voice cannot speak Cyrillic script"
        )
        assert rows(tmp_path, "SELECT backend, error_code FROM jobs") == [("scripted", "model_not_initialized")]


@pytest.mark.parametrize("asked", [{"backend": "hibari"}, {"strict": True, "seed": 7}])
async def test_nobody_speaks_for_a_request_that_names_its_backend_or_is_strict_about_what_only_that_has(
    tmp_path: Path, asked: dict[str, Any]
) -> None:
    async with running(tmp_path, **settings(tmp_path, seed=False)) as caller:
        job = await caller.say(TEXT, **asked)
        assert job["status"] == "FAILED"
        assert job["error"].startswith("this voice cannot speak Cyrillic script")
        assert "Its fallbacks" not in job["error"]
        sound_of(await caller.say(TEXT, seed=7))


async def first_items(caller: Caller, job_id: str) -> list[dict[str, Any]]:
    async with asyncio.timeout(60):
        while not (items := (await poll(caller, job_id))["stream"]):
            pass
    return [item["output"] for item in items]


async def test_what_a_stream_has_given_out_is_never_gone_on_with_in_another_voice(tmp_path: Path) -> None:
    async with running(tmp_path, **settings(tmp_path), jobs=JobSettings(chunk_window=1)) as caller:
        job_id = await caller.run(LONG)
        assert (await first_items(caller, job_id))[0]["text"] == "Paragraph number 0 is in English."
        job = await caller.until(job_id)
        assert job["status"] == "FAILED"
        assert job["error"].startswith("this voice cannot speak Cyrillic script")
        assert "its fallbacks were not tried, since a part was already sent in its voice" in job["error"]
        assert not spoken(tmp_path / "record")


async def test_a_stream_that_nobody_has_read_yet_is_the_fallbacks_alone(tmp_path: Path) -> None:
    async with running(tmp_path, **settings(tmp_path)) as caller:
        job_id = await caller.run(TEXT, format="wav")
        done = await caller.until(job_id)
        items, _ = await drain(caller, job_id)
        assert [item["text"] for item in items] == TEXT.split("\n\n")
        assert round(len(joined(items)) * 1000 / done["output"]["sample_rate"]) == done["output"]["duration_ms"]


async def test_a_listener_who_has_heard_the_first_is_told_whom_to_ask(tmp_path: Path) -> None:
    async with running(tmp_path, **settings(tmp_path), jobs=JobSettings(chunk_window=1)) as caller:
        body = {"model": "tests", "input": LONG, "stream_format": "sse", "response_format": "wav"}
        heard = b""
        with pytest.raises(httpx.RemoteProtocolError):
            async with caller.http.stream("POST", "/v1/audio/speech", json=body) as answer:
                async for piece in answer.aiter_raw():
                    heard += piece
        assert b"hibari could not speak the whole text, and scripted spoke it instead" in heard
        answer = await caller.http.post("/v1/audio/speech", json=body | {"model": "scripted", "stream_format": "audio"})
        assert answer.status_code == 200
