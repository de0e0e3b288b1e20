"""An endpoint's fallback speaks what its own backend cannot, be it absent or not able; nobody else's does."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.after import sound_of, spoken
from support.running import running

from gateway.settings import EndpointSettings

TEXT = "Somebody else may have to say this."


def endpoints(backend: str, *fallback: str, **defaults: Any) -> dict[str, EndpointSettings]:
    return {"tests": EndpointSettings(backend=backend, policy={"fallback": fallback}, **defaults)}


def over(first: str, tmp_path: Path, **scripted: Any) -> dict[str, Any]:
    """The settings of an endpoint of this backend, which need not load, with the scripted one as its fallback."""
    return {
        "plugins": (first, "scripted"),
        "endpoints": endpoints(first, "scripted"),
        "backends": {
            "hibari": {"min_workers": 0},
            "scripted": {"seconds_per_char": 0.005, "record": str(tmp_path / "record"), **scripted},
        },
    }


async def test_the_fallback_of_a_backend_that_is_not_installed_speaks(tmp_path: Path, no_chatterbox: None) -> None:
    async with running(tmp_path, **over("chatterbox", tmp_path)) as caller:
        first, again = await caller.say(TEXT), await caller.say(TEXT)
        voices = (await caller.http.get("/v2/tests/voices")).json()["voices"]
        info = (await caller.http.get("/v2/tests")).json()
    for job in (first, again):
        sound_of(job)
        assert job["output"]["backend"] == "scripted"
    assert [job["output"]["cache_hit"] for job in (first, again)] == [False, True]
    assert {voice["backend"] for voice in voices} == {"scripted"}
    assert info["backend"] == "scripted"


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ({"language": "de"}, "hibari speaks en-US, not 'de'"),
        ({"voice": "high"}, "hibari has no voice 'high'"),
        ({"options": {"instructions": "gladly"}}, "hibari has no option 'instructions'"),
    ],
)
async def test_the_fallback_speaks_what_the_first_backend_cannot(tmp_path: Path, lacking: dict, words: str) -> None:
    async with running(tmp_path, **over("hibari", tmp_path)) as caller:
        job = await caller.say(TEXT, **lacking)
        sound_of(job)
        assert job["output"]["backend"] == "scripted"
        strict = await caller.say(TEXT, **lacking, backend="hibari")
        assert strict["status"] == "FAILED"
        assert strict["error"].startswith(words)


async def test_several_who_wait_for_a_fallback_share_what_it_speaks(tmp_path: Path) -> None:
    async with running(tmp_path, **over("hibari", tmp_path)) as caller:
        asked = {"language": "de", "options": {"delay_s": 2.0}}
        leader = await caller.run(TEXT, **asked)
        await caller.until(leader, "IN_PROGRESS")
        followers = [await caller.run(TEXT, **asked) for _ in range(3)]
        jobs = [await caller.until(job_id) for job_id in (leader, *followers)]
        for job in jobs:
            sound_of(job)
            assert job["output"]["backend"] == "scripted"
        assert Counter(job["output"]["cache_hit"] for job in jobs) == {True: 3, False: 1}
        assert len(spoken(tmp_path / "record")) == 1


async def test_where_nobody_can_the_first_backend_says_so_and_its_fallbacks_what_they_lack(
    tmp_path: Path, no_chatterbox: None
) -> None:
    settings = over("hibari", tmp_path, languages="fr")
    settings["plugins"] = ("hibari", "chatterbox", "scripted")
    settings["endpoints"] = endpoints("hibari", "chatterbox", "scripted")
    async with running(tmp_path, **settings) as caller:
        job = await caller.say(TEXT, language="de")
        assert job["status"] == "FAILED"
        assert job["error"].startswith("hibari speaks en-US, not 'de'; chatterbox can with VOXGATE_")
        fallbacks = job["error"].partition(". Its fallbacks: ")[2]
        assert fallbacks.startswith("backend chatterbox is missing: ")
        assert fallbacks.endswith("(pip install 'voxgate[chatterbox]'); scripted speaks fr, not 'de'")


async def test_who_was_planned_speaks_though_another_server_has_the_first_backend(tmp_path: Path) -> None:
    settings = over("hibari", tmp_path)
    slow = {"plugins": ("scripted",), "backends": {"scripted": {"load_s": 60}}, "shutdown_grace_s": 0.0}
    async with running(tmp_path, **settings | slow) as caller:
        job_id = await caller.run(TEXT)
    async with running(tmp_path, **settings) as caller:
        job = await caller.until(job_id)
        sound_of(job)
        assert job["output"]["backend"] == "scripted"


async def test_openais_callers_hear_the_fallback_too(tmp_path: Path, no_chatterbox: None) -> None:
    async with running(tmp_path, **over("chatterbox", tmp_path)) as caller:
        body = {"model": "tests", "input": TEXT, "voice": "alloy", "instructions": "gladly", "response_format": "wav"}
        answer = await caller.http.post("/v1/audio/speech", json=body)
        assert answer.status_code == 200, answer.text
        assert "scripted has no voice 'alloy'" in answer.headers["x-voxgate-warning"]
        assert answer.content.startswith(b"RIFF")
