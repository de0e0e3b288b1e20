"""Several Chatterbox models in one worker: who speaks when, and what becomes of those that cannot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.chatterbox_feed import ListFeed, chunk, spoken

from backends.chatterbox import ChatterboxSettings
from backends.chatterbox.models import choose_model
from backends.chatterbox.switch import Switch
from backends.interface import BackendUnavailable, Chunk, Event, Feed, Take
from gateway.engines.configure import configure
from gateway.errors import SettingsError

GUARD_S = 30


class Speaker:
    """Speaks with its name, up to `slots` chunks a turn; writes down what it was given."""

    def __init__(self, name: str, log: list[tuple[str, int]], slots: int = 2) -> None:
        self._name, self._log, self._slots = name, log, slots

    def synthesize(self, feed: Feed) -> Iterator[Event]:
        hand: list[Chunk] = []
        while True:
            hand += feed.take(self._slots - len(hand), wait=not hand)
            hand = [one for one in hand if not feed.cancelled(one.id)]
            if not hand:
                return
            one = hand.pop(0)
            self._log.append((self._name, one.id))
            yield Take(one.id, None, 24_000, (self._name,))  # type: ignore[arg-type]

    def close(self) -> None:
        """Do nothing: there is nothing to free."""


def by_language(one: Chunk) -> str:
    return choose_model(("english", "multilingual"), one.language, one.options.model)


def switch(log: list[tuple[str, int]], make: Callable[[str], Any] | None = None) -> Switch:
    return Switch("english", Speaker("english", log), make or (lambda name: Speaker(name, log)), by_language)


def mixed(languages: str) -> list[Chunk]:
    names = {"e": "en", "d": "de"}
    return [chunk(n, "Text.", language=names[letter]) for n, letter in enumerate(languages)]


def test_each_chunk_is_spoken_by_the_model_of_its_language() -> None:
    log: list[tuple[str, int]] = []
    takes, failures = spoken(switch(log).synthesize(ListFeed(mixed("eddeedde"))))
    assert not failures and sorted(takes) == list(range(8))
    assert {n: takes[n].warnings[0] for n in takes} == {
        n: "multilingual" if letter == "d" else "english" for n, letter in enumerate("eddeedde")
    }


def test_a_model_nobody_asked_for_is_not_loaded() -> None:
    speaking = switch([])
    spoken(speaking.synthesize(ListFeed(mixed("eee"))))
    assert speaking.loaded == ("english",)
    spoken(speaking.synthesize(ListFeed(mixed("ed"))))
    assert speaking.loaded == ("english", "multilingual")


def test_a_stream_of_one_language_does_not_starve_another() -> None:
    log: list[tuple[str, int]] = []
    spoken(switch(log).synthesize(ListFeed(mixed("eed" + "e" * 20))))
    assert [number for name, number in log].index(2) <= 4


def test_a_chunk_that_waits_for_its_model_can_be_cancelled_meanwhile() -> None:
    """A cancel is noticed while the model loads: a worker that does not react to a cancel is killed."""
    log: list[tuple[str, int]] = []
    feed = ListFeed(mixed("d"))
    told = threading.Event()
    asked = feed.cancelled

    def cancelled(chunk_id: int) -> bool:
        if asked(chunk_id):
            told.set()
        return asked(chunk_id)

    feed.cancelled = cancelled  # type: ignore[method-assign]

    def make(name: str) -> Speaker:
        feed.unwanted.add(0)
        assert told.wait(GUARD_S), "nobody asked while the model was loading"
        return Speaker(name, log)

    takes, failures = spoken(switch(log, make).synthesize(feed))
    assert not takes and not failures and not log


def test_a_model_that_cannot_be_loaded_fails_its_own_chunks_only() -> None:
    tries: list[str] = []

    def make(name: str) -> Speaker:
        tries.append(name)
        raise BackendUnavailable("the hub cannot be reached", "check the network")

    takes, failures = spoken(switch([], make).synthesize(ListFeed(mixed("eddeed"))))
    assert sorted(takes) == [0, 3, 4] and sorted(failures) == [1, 2, 5]
    assert failures[1].error == "the hub cannot be reached (check the network)"
    assert {failure.kind for failure in failures.values()} == {"unavailable"}, "so that a fallback may speak"
    assert len(tries) == 1, "it is not tried again with every chunk"


def test_a_chunk_no_model_may_speak_is_refused_with_what_they_speak() -> None:
    wrong = [chunk(0, "Text.", language="xx"), chunk(1, "Text.", model="turbo"), *mixed("eee")[2:]]
    takes, failures = spoken(switch([]).synthesize(ListFeed(wrong)))
    assert sorted(takes) == [2]
    assert all(failure.kind == "invalid_input" for failure in failures.values())
    assert "multilingual speaks ar, da, de" in failures[0].error
    assert "'turbo' is not loaded here, only english, multilingual; the server's setting `models`" in failures[1].error


@pytest.mark.parametrize(
    ("allowed", "language", "asked", "name"),
    [
        (("english", "multilingual"), "en-US", None, "english"),
        (("english", "multilingual"), "de", None, "multilingual"),
        (("english", "multilingual"), "en", "multilingual", "multilingual"),
        (("multilingual", "english"), "en", None, "multilingual"),
        (("turbo", "english"), "en", None, "turbo"),
    ],
)
def test_the_model_follows_setting_language_and_request(
    allowed: tuple[str, ...], language: str, asked: str | None, name: str
) -> None:
    assert choose_model(allowed, language, asked) == name


def test_a_language_that_another_model_speaks_names_the_setting() -> None:
    with pytest.raises(ValueError, match="english speaks en; not 'de'; multilingual would: see the setting `models`"):
        choose_model(("english",), "de")


def test_a_language_that_another_loaded_model_speaks_names_the_option_of_the_request() -> None:
    cure = "english speaks en; not 'de'; leave out options.model, or say multilingual"
    with pytest.raises(ValueError, match=f"^{cure}$"):
        choose_model(("english", "multilingual"), "de", "english")


@pytest.mark.parametrize("models", [["english", "multilingual"], "english,multilingual", "multilingual"])
def test_the_models_of_a_server_are_a_list_or_a_text(models: Any) -> None:
    class Named:
        name = "chatterbox"
        Settings = ChatterboxSettings

    settings, _ = configure(Named, {"models": models})  # type: ignore[arg-type]
    assert settings.allowed == ("english", "multilingual")
    with pytest.raises(SettingsError, match="models: 'german' is none of english, multilingual, turbo"):
        configure(Named, {"models": "german"})  # type: ignore[arg-type]
