"""Subtitles of jobs over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from support.running import Caller, running
from support.subtitles import read_srt, read_vtt
from support.voices import tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")
TEXT = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.\n\n"
    "Tom & Jerry are < 3 and > 1; a < b --> c."
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def caller(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Caller]:
    async with running(tmp_path_factory.mktemp("subtitles")) as caller:
        yield caller


async def test_a_finished_job_has_subtitles_in_every_format(caller: Caller) -> None:
    job = await caller.say(TEXT)
    chunks = job["output"]["chunks"]
    base = f"/v2/{caller.endpoint}/subtitles/{job['id']}"
    vtt, srt, data = [await caller.http.get(f"{base}.{form}") for form in ("vtt", "srt", "json")]
    assert vtt.headers["content-type"] == "text/vtt; charset=utf-8"
    assert srt.headers["content-type"] == "application/x-subrip; charset=utf-8"
    cues = read_vtt(vtt.text)
    assert [cue[:2] for cue in read_srt(srt.text)] == [cue[:2] for cue in cues]
    assert [(c["start_ms"], c["end_ms"], c["text"].split("\n")) for c in data.json()["cues"]] == [
        tuple(c) for c in cues
    ]
    assert (cues[0].start_ms, cues[-1].end_ms) == (chunks[0]["start_ms"], chunks[-1]["end_ms"])
    assert " ".join(" ".join(cue.lines) for cue in cues) == " ".join(chunk["text"] for chunk in chunks)
    assert all(len(line) <= 42 for cue in cues for line in cue.lines) and len(cues) > len(chunks)


async def test_a_job_of_the_cache_and_of_the_root_has_them_too(caller: Caller) -> None:
    for _ in range(2):
        answer = await caller.http.post("/runsync", json={"input": {"text": TEXT}})
    assert answer.json()["output"]["cache_hit"] is True
    assert (await caller.http.get(f"/subtitles/{answer.json()['id']}.srt")).status_code == 200


async def test_a_job_that_is_not_spoken_has_none_and_says_why(caller: Caller) -> None:
    async def refused(job_id: str) -> str:
        answer = await caller.http.get(f"/v2/{caller.endpoint}/subtitles/{job_id}.srt")
        assert answer.status_code == 409
        return str(answer.json()["error"])

    running = await caller.run("A slow one.", options={"delay_s": 30})
    assert "ask again when it is COMPLETED" in await refused(running)
    await caller.post(f"cancel/{running}")
    assert "CANCELLED" in await refused(running)
    failed = await caller.say("One that fails.", options={"fail": "so told"})
    assert "FAILED" in (words := await refused(failed["id"])) and "so told" in words


async def test_what_is_not_there_is_404(caller: Caller) -> None:
    job = await caller.say(TEXT)
    for name, words in (
        (f"{job['id']}.ass", ".srt"),
        (job["id"], ".vtt"),
        ("nothing.srt", "not found"),
        (".srt", ".json"),
    ):
        answer = await caller.http.get(f"/v2/{caller.endpoint}/subtitles/{name}")
        assert answer.status_code == 404 and words in answer.json()["error"], name
    async with tenant(caller, "stranger") as stranger:
        answer = await stranger.http.get(f"/v2/{caller.endpoint}/subtitles/{job['id']}.srt")
        assert answer.status_code == 404
