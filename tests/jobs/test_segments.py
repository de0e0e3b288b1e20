"""An utterance of several voices, rates and gains is spoken as its segments say."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from support.after import rows, spoken
from support.running import Caller, pcm_of, running
from support.served import site
from support.streaming import drain, joined

from gateway.speech.decode import decode_request
from gateway.speech.planner import Planner
from gateway.speech.request import SpeechRequest
from gateway.speech.text.plan import Mark, Pause, Segment, Speak

RATE = 24_000
FIRST, SECOND, THIRD = "One voice says this much.", "Another voice answers that.", "And the first one ends it."
SEGMENTS: tuple[Segment, ...] = (
    Mark("start"),
    Speak(FIRST, voice="low"),
    Pause(200, exact=True),
    Mark("turn"),
    Speak(SECOND, voice="high", rate=1.25, gain=-6.0),
    Pause(300),
    Mark("last"),
    Speak(THIRD, rate=0.8, gain=3.0),
    Mark("end"),
)


def decode(raw: bytes | msgspec.Raw, defaults: Mapping[str, Any] | None = None) -> SpeechRequest:
    """Decode an input whose `segments` a parser of markup would have made."""
    given = msgspec.json.decode(raw)
    segments = msgspec.convert(given.pop("segments", ()), tuple[Segment, ...])
    return msgspec.structs.replace(decode_request(msgspec.json.encode(given), defaults), segments=segments)


@asynccontextmanager
async def segmented(folder: Path, shutdown_grace_s: float = 10.0, **backend: Any) -> AsyncIterator[Caller]:
    backends = {"scripted": {"record": str(folder / "record"), **backend}}
    planner = Planner(decoder=decode)
    async with running(folder, planner=planner, backends=backends, shutdown_grace_s=shutdown_grace_s) as caller:
        yield caller


def fields_of(segments: tuple[Segment, ...], **fields: Any) -> dict[str, Any]:
    words = " ".join(each.text for each in segments if isinstance(each, Speak))
    return {"text": words, "segments": msgspec.to_builtins(segments), "voice": "low", "format": "wav", **fields}


async def alone(caller: Caller, text: str, gain: float = 0.0, **fields: Any) -> np.ndarray:
    """Return the samples of one segment as a plain request gives them, made louder by `gain` dB."""
    pcm = pcm_of(await caller.say(text, format="wav", **fields))[0]
    return np.clip(np.rint(pcm.astype(np.float32) * np.float32(10 ** (gain / 20))), -32768, 32767).astype(np.int16)


async def expected(caller: Caller) -> tuple[np.ndarray, list[int]]:
    """Return the samples that the segments must give, and the places of their marks."""
    parts = [
        await alone(caller, FIRST, voice="low"),
        np.zeros(RATE * 200 // 1000, np.int16),
        await alone(caller, SECOND, -6.0, voice="high", speed=1.25),
        np.zeros(RATE * 300 // 1000, np.int16),
        await alone(caller, THIRD, 3.0, voice="low", speed=0.8),
    ]
    places = [0, *np.cumsum([part.size for part in parts]).tolist()]
    return np.concatenate(parts), [places[0], places[2], places[4], places[5]]


async def test_each_segment_has_its_voice_its_rate_and_its_gain_and_marks_have_their_times(tmp_path: Path) -> None:
    async with segmented(tmp_path) as caller:
        job = await caller.say(**fields_of(SEGMENTS))
        pcm, _ = pcm_of(job)
        whole, places = await expected(caller)
    assert np.array_equal(pcm, whole)
    assert [(mark["name"], mark["sample"]) for mark in job["output"]["marks"]] == list(
        zip(("start", "turn", "last", "end"), places, strict=True)
    )
    assert [mark["ms"] for mark in job["output"]["marks"]] == [round(at * 1000 / RATE) for at in places]
    assert set(Counter(text for text, _ in spoken(tmp_path / "record")).values()) == {1}, "plain requests share takes"


async def test_segments_are_cached_and_any_change_of_them_is_another_entry(tmp_path: Path) -> None:
    async with segmented(tmp_path) as caller:
        first = await caller.say(**fields_of(SEGMENTS))
        again = await caller.say(**fields_of(SEGMENTS))
        assert again["output"]["cache_hit"] and again["output"]["marks"] == first["output"]["marks"]
        assert np.array_equal(pcm_of(again)[0], pcm_of(first)[0])
        keys = {first["output"]["cache_key"]}
        for change in ({"voice": "low"}, {"rate": 1.5}, {"gain": -5.0}, {"language": "de"}):
            changed = list(SEGMENTS)
            changed[4] = msgspec.structs.replace(changed[4], **change)
            keys.add((await caller.say(**fields_of(tuple(changed))))["output"]["cache_key"])
        assert len(keys) == 5
        plain = await caller.say(fields_of(SEGMENTS)["text"], voice="low", format="wav")
        assert plain["output"]["cache_key"] not in keys and "marks" not in plain["output"]


@pytest.mark.parametrize("cache", ["use", "refresh"])
async def test_segments_are_streamed_as_they_are_written(tmp_path: Path, cache: str) -> None:
    async with segmented(tmp_path) as caller:
        fields = fields_of(SEGMENTS, cache=cache, options={"chunk_delay_s": 0.2})
        job_id = await caller.run(**fields)
        items, early = await drain(caller, job_id)
        job = await caller.until(job_id)
        whole = pcm_of(job)[0]
    assert early
    assert [mark for item in items for mark in item.get("marks", ())] == job["output"]["marks"]
    assert np.array_equal(joined(items), whole)
    assert [item["text"] for item in items] == [FIRST, SECOND, THIRD]


async def test_segments_answered_from_the_cache_stream_their_marks(tmp_path: Path) -> None:
    async with segmented(tmp_path) as caller:
        spoken_job = await caller.say(**fields_of(SEGMENTS, loudness=-20))
        job_id = await caller.run(**fields_of(SEGMENTS, loudness=-20))
        items, _ = await drain(caller, job_id)
    assert [mark for item in items for mark in item.get("marks", ())] == spoken_job["output"]["marks"]
    assert [item["text"] for item in items] == [FIRST, SECOND, THIRD]


async def test_segments_spoken_before_their_server_stopped_are_not_spoken_again(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.write_text("1")
    async with segmented(tmp_path, shutdown_grace_s=0.0, gate=str(gate)) as caller:
        job_id = await caller.run(**fields_of(SEGMENTS))
        async with asyncio.timeout(60):
            while not rows(tmp_path, "SELECT key FROM takes"):
                await asyncio.sleep(0.02)
    gate.write_text("100")
    async with segmented(tmp_path, gate=str(gate)) as caller:
        pcm = pcm_of(await caller.until(job_id))[0]
        assert np.array_equal(pcm, (await expected(caller))[0])
    assert Counter(text for text, _ in spoken(tmp_path / "record"))[FIRST] == 1


async def test_one_loudness_is_reached_with_the_gains_of_the_segments_kept(tmp_path: Path) -> None:
    async with segmented(tmp_path) as caller:
        plain = pcm_of(await caller.say(**fields_of(SEGMENTS)))[0].astype(float)
        job = await caller.say(**fields_of(SEGMENTS, loudness=-30))
    softer = pcm_of(job)[0].astype(float)
    loud = np.abs(plain) > 1000
    assert np.allclose(softer[loud] / plain[loud], np.median(softer[loud] / plain[loud]), rtol=0.01)


async def test_a_long_segment_becomes_chunks_that_are_spoken_alike(tmp_path: Path) -> None:
    long = " ".join(f"This is sentence number {n} of a long answer." for n in range(20))
    segments = (Speak(FIRST, kind="clause"), Mark("answer"), Speak(long, voice="high", gain=-6.0))
    async with segmented(tmp_path) as caller:
        job = await caller.say(**fields_of(segments))
        pcm, _ = pcm_of(job)
        parts = [await alone(caller, FIRST, voice="low"), await alone(caller, long, -6.0, voice="high")]
    pause = np.zeros(RATE * 150 // 1000, np.int16)
    assert len(job["output"]["chunks"]) > 3
    assert np.array_equal(pcm, np.concatenate((parts[0], pause, parts[1])))
    assert job["output"]["marks"] == [
        {"name": "answer", "sample": parts[0].size + pause.size, "ms": job["output"]["chunks"][1]["start_ms"]}
    ]


async def test_a_segment_that_cannot_be_spoken_is_refused_and_says_why(tmp_path: Path) -> None:
    async with segmented(tmp_path) as caller:
        for speak, words in (
            (Speak("Hello.", voice="nobody"), "no voice 'nobody'"),
            (Speak("Hello.", rate=3.0), "must be between 0.5 and 2.0"),
        ):
            job = await caller.say(**fields_of((speak,)))
            assert job["status"] == "FAILED" and words in job["error"]


async def test_each_voice_has_its_price(tmp_path: Path) -> None:
    async with segmented(tmp_path, usd=1e6, high_usd=10e6) as caller:
        job = await caller.say(**fields_of(SEGMENTS))
        assert job["output"]["cost_usd"] == pytest.approx(len(FIRST) + len(THIRD) + 10 * len(SECOND))


async def test_segments_survive_kills_of_their_servers(tmp_path: Path) -> None:
    async with site(
        tmp_path,
        jobs__lease_s=1,
        jobs__beat_s=0.3,
        backends__scripted__record=tmp_path / "record",
        backends__scripted__gate=(gate := tmp_path / "gate"),
    ) as place:
        gate.write_text("0")
        async with segmented(place.data_dir, shutdown_grace_s=0.0, gate=str(gate)) as caller:
            job_id = await caller.run(**fields_of(SEGMENTS))
        gate.write_text("1")
        served = await place.start()
        async with asyncio.timeout(60):
            while not rows(place.data_dir, "SELECT key FROM takes"):
                await asyncio.sleep(0.02)
        await served.kill()
        gate.write_text("100")
        served = await place.start()
        caller = Caller(None, served.caller.http)  # type: ignore[arg-type]
        job = await caller.until(job_id)
        assert np.array_equal(pcm_of(job)[0], (await expected(caller))[0])
        assert [mark["name"] for mark in job["output"]["marks"]] == ["start", "turn", "last", "end"]
    assert Counter(text for text, _ in spoken(tmp_path / "record"))[FIRST] == 1


async def test_no_key_of_input_sets_segments(tmp_path: Path) -> None:
    async with running(tmp_path) as caller:
        job = await caller.say(**fields_of(SEGMENTS))
    assert job["status"] == "FAILED" and "segments" in job["error"]
