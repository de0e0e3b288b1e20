"""The arms of a policy share an endpoint's requests: who gets which, and what is kept of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support.after import rows, sound_of
from support.clocks import JumpyClock
from support.running import running

from backends.interface import Capabilities, NoOptions, Voice
from gateway.clock import Clock
from gateway.errors import SettingsError
from gateway.routing.endpoints import Endpoint
from gateway.routing.offers import Offers
from gateway.routing.policy import read_policy
from gateway.routing.router import Router
from gateway.settings import CacheSettings, EndpointSettings
from gateway.speech.request import SpeechRequest
from storage.outcomes import HOUR_MS

ARMS = [{"backend": "scripted", "weight": 3}, {"backend": "hibari"}]
BITS = "SELECT arm, failed, fell_back, bad_take, comparable FROM outcomes ORDER BY id"


class Plain:
    """A backend with one voice of its own name."""

    revision = "1"
    options_type = NoOptions

    def __init__(self, name: str, *languages: str) -> None:
        self.name = name
        self.capabilities = Capabilities(languages or ("en",), 24_000)
        self.voices = (Voice(name, languages or ("en",), name),)


def offers(policy: dict[str, Any], text: str = "Good evening.", endpoint: str = "tests", **fields: Any) -> Offers:
    """Offers of the backends one, two and german, on an endpoint with this policy."""
    known = {each.name: each for each in (Plain("one"), Plain("two"), Plain("german", "en", "de"))}
    router = Router(known, None, lambda tenant, name: None)  # type: ignore[arg-type]
    return router.offers(SpeechRequest(text, **fields), Endpoint(endpoint, {}, read_policy("here", policy)), "anna")


def chosen(asked: Offers, key_id: str = "a key") -> str:
    return asked.first(asked.choose(asked.unit(key_id))).backend


def sharing(
    tmp_path: Path,
    arms: list[dict[str, Any]],
    scripted: Any = None,
    clock: Clock | None = None,
    cache: CacheSettings | None = None,
    **policy: Any,
) -> Any:
    """Run a server whose endpoint is shared by hibari and the scripted backend."""
    return running(
        tmp_path,
        clock,
        cache=cache or CacheSettings(),
        plugins=("hibari", "scripted"),
        endpoints={"tests": EndpointSettings(policy={"arms": arms, **policy})},
        backends={"scripted": {"seconds_per_char": 0.005, **(scripted or {})}},
    )


def test_each_arm_gets_its_share_of_the_texts_and_a_text_always_the_same_arm() -> None:
    policy = {"arms": [{"backend": "one", "weight": 3}, {"backend": "two"}]}
    texts = [f"Sentence number {n}." for n in range(2_000)]
    first = [chosen(offers(policy, text)) for text in texts]
    assert 0.72 < first.count("one") / len(texts) < 0.78
    assert [chosen(offers(policy, text), "another key") for text in texts] == first
    grown = {"arms": [{"backend": "one", "weight": 6}, {"backend": "two"}]}
    moved = Counter(zip(first, [chosen(offers(grown, text)) for text in texts], strict=True))
    assert moved["one", "two"] == 0, "a greater share takes texts from others and gives none away"
    elsewhere = [chosen(offers(policy, text, "another endpoint")) for text in texts]
    assert 0.5 < sum(map(str.__eq__, first, elsewhere)) / len(texts) < 0.75, "endpoints split apart from each other"


def test_a_split_by_key_gives_all_requests_of_a_key_to_one_arm() -> None:
    policy = {"arms": [{"backend": "one"}, {"backend": "two"}], "sticky_by": "api_key"}
    by_key = {key: {chosen(offers(policy, f"Text {n}."), key) for n in range(20)} for key in map(str, range(40))}
    assert all(len(arms) == 1 for arms in by_key.values())
    assert set.union(*by_key.values()) == {"one", "two"}


def test_an_arm_that_cannot_speak_a_request_has_no_share_of_it_and_an_arm_without_weight_none_at_all() -> None:
    policy = {"arms": [{"backend": "one"}, {"backend": "german"}, {"backend": "two", "weight": 0}]}
    german = {chosen(offers(policy, f"Satz {n}.", language="de")) for n in range(40)}
    assert german == {"german"}
    assert {chosen(offers(policy, f"Sentence {n}.")) for n in range(100)} == {"one", "german"}


def test_a_request_that_names_a_backend_is_not_split() -> None:
    policy = {"arms": [{"backend": "one"}], "fallback": ["german"]}
    assert offers(policy, backend="two").choose("") == ("two",)


def test_an_arm_has_its_own_voice_for_a_name_and_options_below_those_of_the_request() -> None:
    policy = {"arms": [{"backend": "one", "voices": {"default": "one", "alice": "one"}}]}
    assert chosen(offers(policy, voice="alice")) == "one"
    asked = offers(policy, voice="bob")
    with pytest.raises(Exception, match="one has no voice 'bob'"):
        chosen(asked)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"arms": [{"backend": "one"}, {"backend": "one"}]}, "two arms have the same backend"),
        ({"arms": [{"backend": "one", "weight": 0}]}, "every arm has the weight 0"),
        ({"arms": [{"backend": "one", "weight": -1}]}, r"weight must be .* 0"),
        ({"arms": [{"weight": 1}]}, "backend is missing"),
        ({"arms": [{"backend": "one", "wait": 1}]}, "unknown key 'wait' in arms.*did you mean 'weight'"),
        ({"sticky_by": "moon"}, "sticky_by must be"),
        ({"ramp": {}}, "unknown key 'ramp'"),
        ({"fallback": 3}, "fallback must be a list of backends"),
    ],
)
def test_a_wrong_policy_is_refused_in_words(policy: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        read_policy("[endpoints.a] policy", policy)


async def test_the_same_bytes_reach_the_arm_of_each_key_also_from_memory(tmp_path: Path) -> None:
    async with sharing(tmp_path, ARMS, sticky_by="api_key") as caller:
        heard: dict[str, str] = {}
        keys = [(await caller.gateway.access.keys.create(tenant="default")).secret for _ in range(12)]
        await caller.gateway.access.refresh()
        for key in keys:
            caller.http.headers["authorization"] = f"Bearer {key}"
            jobs = [await caller.say("Everybody says this.") for _ in range(3)]
            for job in jobs:
                sound_of(job)
            (heard[key],) = {job["output"]["backend"] for job in jobs}
            assert jobs[2]["output"]["cache_hit"]
        assert set(heard.values()) == {"hibari", "scripted"}
    kept = rows(tmp_path, "SELECT DISTINCT backend, arms, purpose FROM jobs ORDER BY backend")
    assert kept == [("hibari", "hibari", "caller"), ("scripted", "scripted", "caller")]


async def test_the_outcome_of_each_spoken_attempt_is_kept_and_none_of_a_hit(tmp_path: Path) -> None:
    async with sharing(tmp_path, ARMS) as caller:
        for n in range(6):
            sound_of(await caller.say(f"Number {n}."))
            assert (await caller.say(f"Number {n}."))["output"]["cache_hit"]
        failed = await caller.say("Number 7.", backend="scripted", options={"nonsense": 1})
        assert failed["status"] == "FAILED"
    kept = rows(tmp_path, BITS)
    assert len(kept) == 6 and {tuple(map(bool, bits)) for _, *bits in kept} == {(False, False, False, True)}
    units = rows(tmp_path, "SELECT COUNT(DISTINCT unit), MIN(policy) = MAX(policy), MIN(stratum) FROM outcomes")
    assert [tuple(map(bool, units[0][1:2])), units[0][0], units[0][2]] == [(True,), 6, None]


async def test_an_arm_that_cannot_be_loaded_falls_back_and_both_attempts_are_kept(tmp_path: Path) -> None:
    arms = [{"backend": "scripted"}, {"backend": "hibari", "weight": 0}]
    async with sharing(tmp_path, arms, {"load_fails": "unavailable"}, fallback=["hibari"]) as caller:
        job = await caller.say("Somebody says this.")
        sound_of(job)
        assert job["output"]["backend"] == "hibari"
    assert rows(tmp_path, "SELECT backend, arms FROM jobs") == [("hibari", "scripted hibari")]
    kept = [(arm, *map(bool, bits)) for arm, *bits in rows(tmp_path, BITS)]
    assert kept == [("scripted", True, True, False, True), ("hibari", False, False, False, False)]


async def test_an_endpoint_without_arms_keeps_no_outcomes(tmp_path: Path) -> None:
    async with running(tmp_path) as caller:
        sound_of(await caller.say("Nobody counts this."))
    assert rows(tmp_path, BITS) == []


async def test_old_outcomes_become_sums_per_hour(tmp_path: Path) -> None:
    clock = JumpyClock()
    async with sharing(tmp_path, ARMS, clock=clock, cache=CacheSettings(sweep_every_s=0.1)) as caller:
        for spoken in (3, 6):
            for n in range(3):
                await caller.say(f"Number {spoken + n}.")
            assert len(rows(tmp_path, BITS)) == 3
            clock.ahead_ms += 25 * HOUR_MS
            async with asyncio.timeout(30):
                while rows(tmp_path, BITS):
                    await asyncio.sleep(0.05)
            assert rows(tmp_path, "SELECT SUM(attempts), SUM(failed) FROM outcome_hours") == [(spoken, 0)]
