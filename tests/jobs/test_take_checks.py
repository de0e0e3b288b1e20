"""Flawed takes are spoken again with another seed, and the best is kept: through the whole gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from support.running import Caller, pcm_of, running

TEXT = "The birch canoe slid on the smooth planks of the old and quiet harbour."
OTHER = "Glue the sheet to the dark blue background before the evening comes."
CHECKED: dict[str, Any] = {"take_checks": True, "seconds_per_char": 0.07}


def settings(folder: Path, **backend: Any) -> dict[str, Any]:
    return {"backends": {"scripted": {**CHECKED, "record": str(folder / "record"), **backend}}}


def said(folder: Path) -> list[tuple[str, int]]:
    return [msgspec.json.decode(line, type=tuple[str, int]) for line in (folder / "record").read_bytes().splitlines()]


def counted(caller: Caller, name: str, *labels: str) -> float:
    return float(getattr(caller.gateway.metrics, name).labels("scripted", *labels)._value.get())


async def test_a_flawed_take_is_spoken_again_with_another_seed(tmp_path: Path) -> None:
    async with running(tmp_path / "gateway", **settings(tmp_path)) as caller:
        job = await caller.say(TEXT, options={"takes": ["looped", "speech"]}, format="wav")
        samples, rate = pcm_of(job)
        assert abs(len(samples) / rate - 0.07 * len(TEXT)) < 0.5  # the looped take is five seconds longer
        assert job["output"]["takes_retried"] == 1
        assert job["output"]["warnings"] == []
        seeds = [seed for _, seed in said(tmp_path)]
        assert len(seeds) == len(set(seeds)) == 2
        assert counted(caller, "take_flaws", "looped") == 1
        assert counted(caller, "take_retries") == 1
        assert counted(caller, "takes", "spoken") == 1


async def test_the_best_of_three_bad_takes_is_kept_and_the_answer_says_what_is_wrong(tmp_path: Path) -> None:
    async with running(tmp_path / "gateway", **settings(tmp_path)) as caller:
        takes = {"takes": ["looped", "clipped", "looped"], "only": "canoe"}
        job = await caller.say(f"{OTHER}\n\n{TEXT}", options={**takes, "pcm": "speech"}, format="wav")
        untouched = {"chunks": job["output"]["chunks_processed"]}
        assert untouched == {"chunks": 2}
        warnings = [w for w in job["output"]["warnings"] if w["code"] == "take_flaw" and "chunk 1" in w["message"]]
        assert len(warnings) == 1
        assert "chunk 1: clipped: " in warnings[0]["message"]
        samples, _ = pcm_of(job)
        assert np.abs(samples.astype(int)).max() > 30_000  # the clipped one is loud
        again = await caller.say(f"{OTHER}\n\n{TEXT}", options={**takes, "pcm": "speech"}, format="wav")
        assert again["output"]["cache_hit"] is True
        assert "takes_retried" not in again["output"]
        assert [w for w in again["output"]["warnings"] if w in warnings] == warnings


async def test_only_the_kept_take_is_stored_and_another_format_needs_no_further_try(tmp_path: Path) -> None:
    async with running(tmp_path / "gateway", **settings(tmp_path)) as caller:
        options = {"takes": ["looped", "clipped", "hissing", "speech"]}
        wav = await caller.say(TEXT, options=options, format="wav")
        mp3 = await caller.say(TEXT, options=options, format="mp3")
        assert wav["output"]["duration_ms"] == mp3["output"]["duration_ms"]
        assert mp3["output"]["warnings"] == wav["output"]["warnings"] != []
        assert len(said(tmp_path)) == 3


async def test_good_takes_and_unchecked_backends_are_spoken_once(tmp_path: Path) -> None:
    async with running(tmp_path / "checked", **settings(tmp_path)) as caller:
        good = await caller.say(TEXT, options={"pcm": "speech"})
        assert "takes_retried" not in good["output"]
        assert len(said(tmp_path)) == 1
    async with running(tmp_path / "unchecked", **settings(tmp_path, take_checks=False)) as caller:
        bad = await caller.say(TEXT, options={"pcm": "looped"})
        assert bad["output"]["warnings"] == []
        assert len(said(tmp_path)) == 2
    assert good["output"]["cache_key"] != bad["output"]["cache_key"]


async def test_no_retries_means_that_the_flaw_is_only_told(tmp_path: Path) -> None:
    limits = {"jobs": {"take_retries": 0}}
    async with running(tmp_path / "gateway", **settings(tmp_path), **_jobs(limits)) as caller:
        job = await caller.say(TEXT, options={"takes": ["hissing", "speech"]})
        assert [w["code"] for w in job["output"]["warnings"]] == ["take_flaw"]
        assert "missed_eos" in job["output"]["warnings"][0]["message"]
        assert "takes_retried" not in job["output"]


async def test_a_flawed_take_is_better_than_the_failure_of_its_second_try(tmp_path: Path) -> None:
    async with running(tmp_path / "gateway", **settings(tmp_path)) as caller:
        job = await caller.say(TEXT, options={"takes": ["looped", "nan"]})
        assert job["status"] == "COMPLETED"
        assert "looped" in job["output"]["warnings"][0]["message"]


async def test_a_chunk_for_which_memory_was_short_is_spoken_again_with_its_own_seed(tmp_path: Path) -> None:
    async with running(tmp_path / "gateway", **settings(tmp_path, take_checks=False)) as caller:
        calm = await caller.say(TEXT, options={"pcm": "speech"}, format="wav")
        short = await caller.say(TEXT, options={"takes": ["no_memory", "no_memory", "speech"]}, format="wav")
        np.testing.assert_array_equal(pcm_of(short)[0], pcm_of(calm)[0])
        assert len(said(tmp_path)) == 4
        assert counted(caller, "take_failures", "out_of_memory") == 2


async def test_a_chunk_for_which_memory_stays_short_fails_and_was_never_another(tmp_path: Path) -> None:
    async with running(tmp_path / "gateway", **settings(tmp_path)) as caller:
        job = await caller.say(TEXT, options={"pcm": "no_memory"})
        assert job["status"] == "FAILED" and "out of memory" in job["error"]
        assert len(said(tmp_path)) == 3
        assert len({seed for _, seed in said(tmp_path)}) == 1


async def test_memory_that_is_short_at_a_second_try_does_not_leave_the_flawed_take(tmp_path: Path) -> None:
    async with running(tmp_path / "gateway", **settings(tmp_path)) as caller:
        job = await caller.say(TEXT, options={"takes": ["looped", "no_memory", "speech"]})
        assert job["output"]["warnings"] == [] and job["output"]["takes_retried"] == 1
        first, second, third = [seed for _, seed in said(tmp_path)]
        assert first != second == third


def _jobs(limits: dict[str, dict[str, Any]]) -> dict[str, Any]:
    from gateway.settings.model import JobSettings

    return {"jobs": JobSettings(**limits["jobs"])}
