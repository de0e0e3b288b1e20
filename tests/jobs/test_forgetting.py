"""Retention deletes expired jobs, texts, cache entries, takes and files at the right time, and completely."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.after import missing_files, rows, sound_of, spoken
from support.running import running
from support.served import site

from gateway.settings import CacheSettings, JobSettings
from storage.files.audio import AudioStore
from storage.jobs.queue import JobStore

pytestmark = pytest.mark.slow

OFTEN: dict[str, Any] = {"sweep_every_s": 0.2, "blob_grace_s": 0.3}


def scripted(tmp_path: Path, **settings: Any) -> dict[str, dict[str, Any]]:
    return {"scripted": {"record": str(tmp_path / "record"), **settings}}


def files(tmp_path: Path) -> list[Path]:
    return [file for file in (tmp_path / "audio").rglob("*") if file.is_file()]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.05)


async def test_a_job_is_kept_as_long_as_its_kind_and_then_gone_with_its_text(
    tmp_path: Path, kind_of_database: str
) -> None:
    jobs = JobSettings(retention_run_s=1.5, retention_runsync_s=3600)
    text = "This confidential sentence should not outlive its job."
    async with running(tmp_path, backends=scripted(tmp_path), jobs=jobs, cache=CacheSettings(**OFTEN)) as caller:
        kept = await caller.say("This one is kept for longer.", cache="off")
        job_id = await caller.run(text, cache="off")
        sound_of(await caller.until(job_id))
        await until(lambda: not rows(tmp_path, "SELECT 1 FROM jobs WHERE id = ?", job_id))
        assert (await caller.http.get(f"/v2/tests/status/{job_id}")).status_code == 404
        assert (await caller.status(kept["id"]))["status"] == "COMPLETED"
        assert rows(tmp_path, "SELECT 1 FROM job_events WHERE job_id = ?", job_id) == []
    if kind_of_database == "postgresql":  # it overwrites nothing before its next vacuum
        return
    written = (tmp_path / "voxgate.db").read_bytes()
    assert b"confidential sentence" not in written
    assert not [file for file in tmp_path.glob("voxgate.db-wal") if b"confidential sentence" in file.read_bytes()]


async def test_a_caller_may_have_a_result_forgotten_sooner(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path), cache=CacheSettings(**OFTEN)) as caller:
        job_id = await caller.run("Nobody needs this for long.")
        sound_of(await caller.until(job_id))
        assert (await caller.http.get(f"/v2/tests/status/{job_id}?ttl=10000")).status_code == 200
        ((until_ms, finished_ms),) = rows(tmp_path, "SELECT retain_until_ms, finished_ms FROM jobs")
        assert until_ms - finished_ms < 60_000


async def test_the_cache_keeps_what_was_used_last_within_its_bytes(tmp_path: Path) -> None:
    # Each of these is some 50 kB of WAV.
    texts = [f"The sentence number {n} is long enough to count for something." for n in range(6)]
    cache = CacheSettings(**OFTEN, max_bytes=200_000)
    async with running(tmp_path, backends=scripted(tmp_path), cache=cache) as caller:
        for text in texts:
            await caller.say(text, format="wav")
            assert (await caller.say(texts[0], format="wav"))["output"]["cache_hit"] in (True, False)
            await asyncio.sleep(0.3)
        await until(lambda: rows(tmp_path, "SELECT SUM(size_bytes) <= 200000 FROM cache_entries") == [(1,)])
        assert (await caller.say(texts[5], format="wav"))["output"]["cache_hit"] is True
        assert (await caller.say(texts[0], format="wav"))["output"]["cache_hit"] is True
        before = len(spoken(tmp_path / "record"))
        evicted = await caller.say(texts[1], format="wav")
        assert evicted["output"]["cache_hit"] is False
        sound_of(evicted)
        assert len(spoken(tmp_path / "record")) == before, "its takes are kept on their own"


async def test_a_step_that_always_crashes_keeps_no_other_from_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JobStore, "delete_retained", lambda _: 1 / 0)
    cache = CacheSettings(**OFTEN, max_bytes=1)
    async with running(tmp_path, backends=scripted(tmp_path), cache=cache) as caller:
        sound_of(await caller.say("More than a byte of it."))
        await until(lambda: rows(tmp_path, "SELECT COUNT(*) FROM cache_entries") == [(0,)])


async def test_old_entries_go_and_files_follow_when_nothing_refers_to_them(tmp_path: Path) -> None:
    jobs = JobSettings(retention_run_s=3, retention_runsync_s=3)  # longer than a busy machine takes to answer
    cache = CacheSettings(**OFTEN, max_age_s=1.0, takes_bytes=0)
    async with running(tmp_path, backends=scripted(tmp_path), jobs=jobs, cache=cache) as caller:
        for n in range(3):
            sound_of(await caller.say(f"The sentence number {n} goes the way of all."))
        assert files(tmp_path)
        await until(lambda: not files(tmp_path))
        for table in ("jobs", "cache_entries", "takes", "blobs"):
            assert rows(tmp_path, f"SELECT COUNT(*) FROM {table}") == [(0,)]
        # What is said again is spoken again, from nothing.
        again = await caller.say("The sentence number 0 goes the way of all.")
        sound_of(again)
        assert again["output"]["cache_hit"] is False


async def test_pruned_audio_is_forgotten_by_a_running_server_within_a_second_or_so(tmp_path: Path) -> None:
    async with site(tmp_path, backends__scripted__seconds_per_char=0.005) as place, asyncio.timeout(60):
        served = await place.start()
        texts = ("This sentence is known by heart.", "And so is this one.")
        for text in texts:
            await served.caller.say(text)
            assert (await served.caller.say(text))["output"]["cache_hit"] is True
        done = await asyncio.to_thread(place.command, "cache", "prune", "--all")
        assert done.stdout.strip() == "2 entries removed", done.stderr
        while (again := await served.caller.say(texts[0]))["output"]["cache_hit"]:
            await asyncio.sleep(0.05)
        sound_of(again)
        assert (await served.caller.say(texts[1]))["output"]["cache_hit"] is False
        # What was said again since then is known again, and what is not pruned stays.
        for text in texts:
            assert (await served.caller.say(text))["output"]["cache_hit"] is True
        assert await served.stop() == 0


async def test_what_a_killed_sweep_had_taken_is_back_when_the_next_server_has_started(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        sound_of(await caller.say("It was in the trash when the sweeper died."))
    audio = AudioStore(tmp_path / "audio")
    blobs = rows(tmp_path, "SELECT hash, suffix FROM blobs")
    audio.blobs.bury(blobs)
    assert {audio.blobs.hash_of(file) for file in audio.blobs.trash.iterdir()} == {blob_hash for blob_hash, _ in blobs}
    async with running(tmp_path, backends=scripted(tmp_path)):
        await until(lambda: not list(audio.blobs.trash.iterdir()))
        assert {file.name for file in files(tmp_path)} == {"".join(blob) for blob in blobs}


async def test_takes_of_unfinished_jobs_outlive_any_budget(tmp_path: Path) -> None:
    text = "\n\n".join(f"Paragraph {n} says the number {n} in so many words." for n in range(8))
    cache = CacheSettings(**OFTEN, takes_bytes=0)
    async with running(tmp_path, backends=scripted(tmp_path, target_chars=50), cache=cache) as caller:
        job_id = await caller.run(text, options={"chunk_delay_s": 0.3})
        kept: list[int] = []
        while (await caller.status(job_id))["status"] in ("IN_QUEUE", "IN_PROGRESS"):
            kept.append(rows(tmp_path, "SELECT COUNT(*) FROM takes")[0][0])
            await asyncio.sleep(0.1)
        sound_of(await caller.status(job_id))
        assert kept == sorted(kept)
        assert kept[-1] >= 4
        await until(lambda: rows(tmp_path, "SELECT COUNT(*) FROM takes") == [(0,)])
        assert len(spoken(tmp_path / "record")) == 8


async def test_sweeping_under_load_takes_nothing_that_is_needed(tmp_path: Path) -> None:
    jobs = JobSettings(retention_run_s=0.4, retention_runsync_s=3)  # longer than a busy machine takes to answer
    cache = CacheSettings(sweep_every_s=0.05, blob_grace_s=0.6, max_bytes=150_000, max_age_s=0.7, takes_bytes=50_000)
    async with running(tmp_path, backends=scripted(tmp_path, concurrency=4), jobs=jobs, cache=cache) as caller:

        async def listen(seed: int) -> None:
            for n in range(25):
                sound_of(await caller.say(f"The sentence number {(n * seed) % 11} comes and goes.", format="wav"))

        await asyncio.gather(*(listen(seed) for seed in (1, 3, 5, 7)))
    assert not await missing_files(tmp_path)
