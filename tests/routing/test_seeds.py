"""A seed that a backend cannot honour: who asked is told each time, and may insist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.after import sound_of
from support.running import running

TEXT = "This sounds different each time."
WORDS = "scripted cannot honour a seed: the same text may sound different next time"


def warnings_of(job: dict[str, Any]) -> list[tuple[str, str]]:
    sound_of(job)
    return [(warning["code"], warning["message"]) for warning in job["output"].get("warnings", ())]


async def test_a_seed_that_is_not_honoured_is_a_warning_also_on_a_cached_answer(tmp_path: Path) -> None:
    async with running(tmp_path, backends={"scripted": {"seed": False}}) as caller:
        jobs = [await caller.say(TEXT, seed=7) for _ in range(3)]  # spoken, from the store, from memory
        jobs.append(await caller.until(await caller.run(TEXT, seed=7)))
        assert [job["output"]["cache_hit"] for job in jobs] == [False, True, True, True]
        for job in jobs:
            assert warnings_of(job) == [("seed_not_honoured", WORDS)]
        assert warnings_of(await caller.say(TEXT)) == []


async def test_under_strict_it_is_an_error_whatever_the_cache_holds(tmp_path: Path) -> None:
    async with running(tmp_path, backends={"scripted": {"seed": False}}) as caller:
        sound_of(await caller.say(TEXT, seed=7))
        job = await caller.say(TEXT, seed=7, strict=True)
        assert job["status"] == "FAILED"
        assert job["error"] == f"{WORDS}; leave out 'seed', or 'strict'"
        assert warnings_of(await caller.say(TEXT, strict=True)) == []


async def test_a_seed_that_is_honoured_is_no_warning(tmp_path: Path) -> None:
    async with running(tmp_path) as caller:
        assert warnings_of(await caller.say(TEXT, seed=7, strict=True)) == []
