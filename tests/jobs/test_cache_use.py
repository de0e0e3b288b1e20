"""`input.cache`: use, refresh, off; and what an edit costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.after import rows, sound_of, spoken
from support.running import running

TEXT = "Say this sentence again and again."


def scripted(tmp_path: Path, **settings: Any) -> dict[str, dict[str, Any]]:
    return {"scripted": {"seconds_per_char": 0.005, "record": str(tmp_path / "record"), **settings}}


async def test_use_is_the_default_and_answers_from_what_was_spoken(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        first = await caller.say(TEXT)
        for fields in ({}, {"cache": "use"}, {"voice": "default"}, {"language": "en"}, {"speed": 1.0}):
            again = await caller.say(TEXT, **fields)
            assert again["output"]["cache_hit"] is True
            assert again["output"]["audio_base64"] == first["output"]["audio_base64"]
        others = ({"seed": 1}, {"voice": "high"}, {"speed": 1.2}, {"options": {"pcm": "noise"}}, {"format": "wav"})
        for fields in others:
            other = await caller.say(TEXT, **fields)
            assert other["output"]["cache_hit"] is False
            assert other["output"]["cache_key"] != first["output"]["cache_key"]
        # speed and format only change what is made of a take.
        assert len(spoken(tmp_path / "record")) == 4


async def test_refresh_speaks_anew_and_what_it_spoke_is_used_from_then_on(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        first = await caller.say(TEXT)
        anew = await caller.say(TEXT, cache="refresh")
        assert anew["output"]["cache_hit"] is False
        assert anew["output"]["cache_key"] == first["output"]["cache_key"]
        assert len(spoken(tmp_path / "record")) == 2
        assert (await caller.say(TEXT))["output"]["cache_hit"] is True
        assert rows(tmp_path, "SELECT COUNT(*) FROM cache_entries") == [(1,)]


async def test_what_is_in_memory_goes_when_a_refresh_has_replaced_it(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        await caller.say(TEXT)
        # The same seed gives the same sound, so the old entry is marked by something else.
        dear = "UPDATE cache_entries SET output = REPLACE(output, '\"cost_usd\":0.0', '\"cost_usd\":7.5')"
        assert caller.gateway._database is not None
        await caller.gateway._database.writer.run(lambda conn: conn.exec_driver_sql(dear) and None)
        assert (await caller.say(TEXT))["output"]["cost_usd"] == 7.5
        await caller.say(TEXT, cache="refresh")
        again = await caller.say(TEXT)
        assert again["output"]["cache_hit"] is True
        assert again["output"]["cost_usd"] == 0


async def test_off_neither_reads_nor_leaves_anything_for_others(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        for _ in range(2):
            job = await caller.say(TEXT, cache="off")
            sound_of(job)
            assert job["output"]["cache_hit"] is False
        assert len(spoken(tmp_path / "record")) == 2
        assert rows(tmp_path, "SELECT COUNT(*) FROM cache_entries") == [(0,)]
        assert (await caller.say(TEXT))["output"]["cache_hit"] is False
        assert len(spoken(tmp_path / "record")) == 3
        await caller.say(TEXT, cache="off")
        assert len(spoken(tmp_path / "record")) == 4


async def test_an_edited_script_speaks_at_most_the_paragraph_that_changed(tmp_path: Path) -> None:
    paragraphs = [
        " ".join(f"Sentence {s} of paragraph {p} is neither short nor long." for s in range(6)) for p in range(8)
    ]
    async with running(tmp_path, backends=scripted(tmp_path, target_chars=100)) as caller:
        whole = await caller.say("\n\n".join(paragraphs))
        per_paragraph = whole["output"]["chunks_processed"] / 8
        before = len(spoken(tmp_path / "record"))
        paragraphs[3] = paragraphs[3].replace("Sentence 2", "The third sentence")
        edited = await caller.say("\n\n".join(paragraphs))
        sound_of(edited)
        said = spoken(tmp_path / "record")[before:]
        assert 1 <= len(said) <= per_paragraph
        assert all("paragraph 3" in text for text, _ in said)
        # Moved paragraphs keep their seeds and with them their sound.
        before = len(spoken(tmp_path / "record"))
        await caller.say("\n\n".join(reversed(paragraphs)))
        assert len(spoken(tmp_path / "record")) == before


async def test_audio_whose_file_is_gone_is_spoken_again_and_not_served_broken(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        await caller.say(TEXT)
    for file in (tmp_path / "audio").rglob("*.*"):
        file.unlink()
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        job = await caller.say(TEXT)
        sound_of(job)
        assert (await caller.say(TEXT))["output"]["cache_hit"] is True
        assert len(spoken(tmp_path / "record")) == 2


async def test_every_answer_from_the_cache_is_a_hit(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        await caller.say(TEXT)
        for _ in range(20):
            assert (await caller.say(TEXT))["output"]["cache_hit"] is True
        for _ in range(5):
            sound_of(await caller.until(await caller.run(TEXT)))
    assert rows(tmp_path, "SELECT hits FROM cache_entries") == [(25,)]


async def test_the_default_bitrate_asked_for_by_name_is_the_same_audio(tmp_path: Path) -> None:
    async with running(tmp_path, backends=scripted(tmp_path)) as caller:
        for audio_format, bitrate in (("mp3", 64), ("opus", 32)):
            first = await caller.say(TEXT, format=audio_format)
            same = await caller.say(TEXT, format=audio_format, bitrate=bitrate)
            assert same["output"]["cache_hit"] is True
            assert same["output"]["cache_key"] == first["output"]["cache_key"]
            other = await caller.say(TEXT, format=audio_format, bitrate=96)
            assert other["output"]["cache_key"] != first["output"]["cache_key"]
