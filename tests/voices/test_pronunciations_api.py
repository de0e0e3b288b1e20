"""Pronunciations over HTTP: what is written stays, what is spoken changes, and only for its tenant."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from support.after import spoken
from support.running import Caller, running
from support.voices import tenant

from gateway.settings.model import CacheSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")
TEXT = "Nguyen is here."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def caller(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Caller]:
    folder = tmp_path_factory.mktemp("pronunciations")
    backends = {"scripted": {"record": str(folder / "record")}}
    async with running(folder, backends=backends, cache=CacheSettings(scope="shared")) as caller:
        yield caller


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def empty(caller: Caller) -> None:
    assert (await caller.http.delete("/pronunciations")).status_code == 200


def heard(caller: Caller) -> list[str]:
    return [text for text, _ in spoken(Path(caller.gateway.settings.backends["scripted"]["record"]))]


async def entries(caller: Caller, *given: tuple[str, ...], how: str = "POST", **more: Any) -> httpx.Response:
    body = {"entries": [dict(zip(("phrase", "respelling", "language"), one, strict=False)) for one in given]}
    return await caller.http.request(how, "/pronunciations", json=body | more)


async def test_a_word_is_spoken_as_respelled_and_shown_as_written(caller: Caller) -> None:
    plain = await caller.say(TEXT)
    answer = await entries(caller, ("Nguyen", "Win", "en"))
    assert answer.status_code == 200, answer.text
    assert answer.json()["entries"] == [{"phrase": "Nguyen", "respelling": "Win", "language": "en"}]
    job = await caller.say(TEXT)
    assert job["output"]["cache_hit"] is False and heard(caller)[-1] == "Win is here."
    assert [chunk["text"] for chunk in job["output"]["chunks"]] == [TEXT]
    assert job["output"]["cache_key"] != plain["output"]["cache_key"]
    assert (await caller.say(TEXT))["output"]["cache_hit"] is True
    streamed = (await caller.http.get(f"/v2/{caller.endpoint}/stream/{job['id']}")).json()["stream"]
    assert [item["output"]["text"] for item in streamed] == [TEXT]


async def test_an_entry_that_does_not_concern_a_text_leaves_its_cached_audio_alone(caller: Caller) -> None:
    await caller.say("Nothing of it.")
    await entries(caller, ("Nguyen", "Win"))
    assert (await caller.say("Nothing of it."))["output"]["cache_hit"] is True


async def test_a_changed_entry_is_heard_at_once_and_an_old_one_comes_back_from_the_cache(caller: Caller) -> None:
    for respelling, hit in (("When", False), ("Ngooyen", False), ("When", True)):
        await entries(caller, ("Nguyen", respelling))
        assert (await caller.say(TEXT))["output"]["cache_hit"] is hit


async def test_another_tenant_hears_what_it_wrote_though_the_cache_is_shared(caller: Caller) -> None:
    await entries(caller, ("Smith", "Smythe"))
    async with tenant(caller, "stranger") as stranger:
        assert (await stranger.http.get("/pronunciations")).json()["entries"] == []
        job = await caller.say("Smith is here.")
        assert (await stranger.say("Smith is here."))["output"]["cache_key"] != job["output"]["cache_key"]
        assert heard(caller)[-2:] == ["Smythe is here.", "Smith is here."]
        # Who writes what the other has respelled gets his own words shown.
        same = await stranger.say("Smythe is here.")
        assert [chunk["text"] for chunk in same["output"]["chunks"]] == ["Smythe is here."]


async def test_only_the_entrys_language_is_respelled(caller: Caller) -> None:
    await entries(caller, ("gift", "present", "en"))
    await caller.say("Ein Gift.", language="de")
    assert heard(caller)[-1] == "Ein Gift."
    await caller.say("A gift.", language="en-GB")
    assert heard(caller)[-1] == "A present."


async def test_put_has_these_and_no_others_delete_takes_one_out_and_every_change_is_a_version(caller: Caller) -> None:
    first = (await entries(caller, ("a", "x"), ("b", "y", "EN_us"))).json()
    assert [e["language"] for e in first["entries"]] == ["*", "en-US"]
    again = (await entries(caller, ("A", "x2"))).json()
    assert again["version"] == first["version"] + 1
    assert [(e["phrase"], e["respelling"]) for e in again["entries"]] == [("A", "x2"), ("b", "y")]
    same = (await entries(caller, ("A", "x2"))).json()
    assert same["version"] == again["version"]
    stale = await entries(caller, ("c", "z"), how="PUT", version=first["version"])
    assert stale.status_code == 409 and f"version {again['version']}" in stale.json()["error"]
    put = (await entries(caller, ("c", "z"), how="PUT", version=again["version"])).json()
    assert [e["phrase"] for e in put["entries"]] == ["c"]
    missing = await caller.http.delete("/pronunciations", params={"phrase": "c", "language": "en"})
    assert missing.status_code == 404 and "there is one for '*'" in missing.json()["error"]
    gone = await caller.http.delete("/pronunciations", params={"phrase": "C"})
    assert gone.json()["entries"] == [] and gone.json()["version"] == put["version"] + 1
    assert (await caller.http.get("/pronunciations")).json() == gone.json()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "entries"),
        (b'{"entries": [{"phrase": "a"}]}', "respelling"),
        (b'{"entries": [{"phrase": "a", "respeling": "b"}]}', "respel"),
        (b'{"entries": [{"phrase": "...", "respelling": "b"}]}', "no letter"),
        (b'{"entries": [{"phrase": "a", "respelling": "b", "language": "!"}]}', "BCP 47"),
        (b'{"entries": [' + b",".join(b'{"phrase":"w%d","respelling":"b"}' % n for n in range(2001)) + b"]}", "2000"),
        (b'{"entries": [{"phrase": "\\ud800a", "respelling": "b"}]}', ""),
    ],
)
async def test_what_cannot_be_an_entry_is_refused_with_the_reason(caller: Caller, body: bytes, words: str) -> None:
    answer = await caller.http.post("/pronunciations", content=body)
    assert answer.status_code == 400 and words in answer.json()["error"]
    assert (await caller.http.get("/pronunciations")).json()["entries"] == []


async def test_changing_needs_the_scope_voices_and_reading_does_not(caller: Caller) -> None:
    async with tenant(caller, "default", "speak") as speaker:
        assert (await speaker.http.get("/pronunciations")).status_code == 200
        refused = await entries(speaker, ("a", "b"))
        assert refused.status_code == 403 and "voices" in refused.json()["error"]


async def test_many_changes_at_once_lose_none(caller: Caller) -> None:
    answers = await asyncio.gather(*(entries(caller, (f"word{n}", "x")) for n in range(6)))
    assert {answer.status_code for answer in answers} == {200}
    assert len((await caller.http.get("/pronunciations")).json()["entries"]) == 6


async def test_another_server_speaks_by_a_changed_dictionary_within_moments(tmp_path: Path) -> None:
    record = {"scripted": {"record": str(tmp_path / "record")}}
    async with running(tmp_path, backends=record) as one, running(tmp_path, backends=record) as other:
        await entries(one, ("Nguyen", "Win"))
        async with asyncio.timeout(30):
            while not (await other.http.get("/pronunciations")).json()["entries"]:
                await asyncio.sleep(0.05)
        await other.say(TEXT)
        assert heard(other) == ["Win is here."]


async def test_a_long_text_is_respelled_too(caller: Caller) -> None:
    await entries(caller, ("Nguyen", "Win"))
    job = await caller.say("Nguyen is here. " * 2_000, options={"pcm": "tone"}, delivery="url")
    assert job["status"] == "COMPLETED", job
    assert all("Win" in text and "Nguyen" not in text for text in heard(caller)[-20:])
    assert all("Nguyen" in chunk["text"] for chunk in job["output"]["chunks"])
