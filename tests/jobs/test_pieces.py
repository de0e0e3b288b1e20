"""Chunks that their engine calls too long, asked for by several jobs at once: spoken in pieces, each piece once."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.after import sound_of, spoken
from support.running import Caller, pcm_of, running

from gateway.speech.sound.finish import FinishedPcm
from gateway.speech.speak.takes import Takes

FORMATS = ("mp3", "wav", "flac")
ROUNDS = 200


def long_text(nth: int) -> str:
    on = "".join(f"and {nth} times {n}, " for n in range(8))
    return f"Sentence number {nth} goes on, {on}until its engine has had enough of it."


def too_long(text: str) -> dict[str, Any]:
    """Options by which an engine takes the pieces of a text and not the whole."""
    return {"fail": True, "kind": "too_long", "only": text[10:-10]}


def scripted(tmp_path: Path, **settings: Any) -> dict[str, dict[str, Any]]:
    return {"scripted": {"seconds_per_char": 0.005, "record": str(tmp_path / "record"), **settings}}


async def in_all_formats(caller: Caller, text: str, **options: Any) -> list[dict[str, Any]]:
    asked = {**too_long(text), **options}
    return await asyncio.gather(*(caller.say(text, format=form, options=asked) for form in FORMATS))


async def test_three_formats_of_one_such_text_at_once_are_right_at_the_first_try(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        for nth in range(ROUNDS):
            jobs = await in_all_formats(caller, long_text(nth))
            for job in jobs:
                sound_of(job)
                assert "retries" not in job, nth
            assert len({job["output"]["duration_ms"] for job in jobs}) == 1
    counted = Counter(text for text, _ in spoken(tmp_path / "record"))
    assert set(counted.values()) == {1}, "a chunk or a piece of one was spoken twice"


async def test_texts_that_have_a_piece_in_common_share_it_and_are_right_at_the_first_try(tmp_path: Path) -> None:
    """The flight of a piece may be another job's, and so its take may not be stored when the pieces are joined."""
    text = long_text(0)
    half = text[: len(text) // 2].rpartition(", ")[0] + ","
    async with running(tmp_path, backends=scripted(tmp_path, concurrency=4)) as caller:
        for nth in range(20):
            options = {**too_long(text), "instructions": f"way {nth}"}
            whole, part = await asyncio.gather(
                caller.say(text, format="wav", options=options), caller.say(half, format="wav", options=options)
            )
            for job in (whole, part):
                sound_of(job)
                assert "retries" not in job, nth


async def test_a_caller_who_leaves_takes_no_piece_from_those_who_stay(tmp_path: Path) -> None:
    text = long_text(1)
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        options = {**too_long(text), "chunk_delay_s": 0.0}
        for nth in range(20):
            options["instructions"] = f"way {nth}"
            ids = [await caller.run(text, format=form, options=options) for form in FORMATS]
            await caller.post(f"cancel/{ids[nth % 3]}")
            for n, job_id in enumerate(ids):
                job = await caller.until(job_id)
                if n != nth % 3:
                    sound_of(job)
                    assert "retries" not in job, nth


async def test_a_text_that_comes_while_its_chunks_are_being_spoken_for_another_format_has_none_spoken_again(
    tmp_path: Path,
) -> None:
    text = "\n\n".join(f"Paragraph number {n} says something of its own, and then it ends." for n in range(40))
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        first = await caller.run(text, format="mp3", options={"chunk_delay_s": 0.02})
        async with asyncio.timeout(30):
            while len(spoken(tmp_path / "record")) < 4:
                await asyncio.sleep(0.005)
        second = await caller.say(text, format="wav", options={"chunk_delay_s": 0.02})
        sound_of(await caller.until(first))
        pcm_of(second)
    counted = Counter(text for text, _ in spoken(tmp_path / "record"))
    assert len(counted) == 40 and set(counted.values()) == {1}


async def test_pieces_that_were_spoken_before_their_server_stopped_are_not_spoken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished, reached = Takes.finished, asyncio.Event()

    async def hanging(self: Takes, *given: Any) -> FinishedPcm:
        reached.set()  # all pieces are spoken and joined
        await asyncio.sleep(60)
        return await finished(self, *given)

    text = long_text(2)
    with monkeypatch.context() as patched:
        patched.setattr(Takes, "finished", hanging)
        async with running(tmp_path, backends=scripted(tmp_path), shutdown_grace_s=0.0) as caller:
            job_id = await caller.run(text, format="wav", options=too_long(text))
            await asyncio.wait_for(reached.wait(), 30)
    before = [told for told, _ in spoken(tmp_path / "record")]
    assert len(before) > 2
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        sound_of(await caller.until(job_id))
    assert [told for told, _ in spoken(tmp_path / "record")] == [*before, text]
