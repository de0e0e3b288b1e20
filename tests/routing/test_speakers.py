"""A refusal of a language or script names the backends that could speak it and says how to get them."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from support.posting import post
from support.running import running

from backends.interface import Capabilities, NoOptions, Voice
from gateway.clock import SystemClock
from gateway.engines.registry import Engines
from gateway.errors import InvalidInput
from gateway.routing.arms import Arm
from gateway.routing.endpoints import Endpoint
from gateway.routing.router import Router
from gateway.settings import Settings
from gateway.speech.request import SpeechRequest

BACKENDS = {
    "hibari": "backends.hibari:HibariBackend",
    "scripted": "backends.testing.scripted:ScriptedBackend",
    "changeable": "support.polyglots:Changeable",
    "absent": "support.polyglots:Absent",
}


class Named:
    """A backend with voices of these names."""

    name = "hibari"
    capabilities = Capabilities(("en",), 24_000)
    revision = "1"
    options_type = NoOptions

    def __init__(self, names: tuple[str, ...]) -> None:
        self.voices = tuple(Voice(name, ("en",), name) for name in names)


def router(**languages: tuple[str, ...]) -> Router:
    """One over hibari and these backends, each with its languages."""
    names = ("hibari", *languages)
    settings = Settings(
        plugins=names, backends={name: {"languages": spoken, "min_workers": 0} for name, spoken in languages.items()}
    )
    entry_points = [EntryPoint(name, BACKENDS[name], "voxgate.backends") for name in names]
    engines = Engines(settings, post, SystemClock(), entry_points)
    known = {hosted.name: hosted for hosted in engines}
    return Router(known, "hibari", lambda tenant, name: None, found=engines.infos)


def arm_of(asked: Router, request: SpeechRequest) -> Arm:
    offers = asked.offers(request, Endpoint("any"), "anna")
    return offers.first(offers.choose(""))


def refusal(asked: Router, language: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        arm_of(asked, SpeechRequest("Guten Tag.", language=language))
    return str(caught.value)


@pytest.mark.parametrize(
    ("others", "language", "who"),
    [
        ({"scripted": ("de", "fr")}, "de-AT", "scripted can: set 'backend'"),
        ({"scripted": ("*",)}, "de", "scripted can: set 'backend'"),
        ({"changeable": ("en",)}, "fr", "changeable can with VOXGATE_BACKENDS__CHANGEABLE__LANGUAGES=ja,fr"),
        ({"absent": ("de",)}, "de", "absent can once it is installed: pip install polyglot"),
        (
            {"absent": ("de",)},
            "fr",
            "absent can with VOXGATE_BACKENDS__ABSENT__LANGUAGES=ja,fr once it is installed: pip install polyglot",
        ),
        (
            {"scripted": ("de",), "absent": ("de",)},
            "de",
            "scripted can: set 'backend'; absent can once it is installed: pip install polyglot",
        ),
        ({"scripted": ("nl",)}, "de", "no backend that is loaded or could be installed here can"),
    ],
)
def test_who_asks_for_a_language_is_told_who_speaks_it(others: dict, language: str, who: str) -> None:
    expected = f"hibari speaks en-US, not {language!r}; {who}. `voxgate backends` lists all"
    assert refusal(router(**others), language) == expected


def test_a_backend_that_speaks_it_under_another_setting_names_that_of_itself() -> None:
    with pytest.raises(InvalidInput, match=r"^changeable speaks en, not 'ja'; changeable can with VOXGATE_BACKENDS__"):
        request = SpeechRequest("Hai.", language="ja", backend="changeable")
        arm_of(router(changeable=("en",)), request)


def test_norwegian_of_either_kind_is_spoken_by_who_speaks_norwegian() -> None:
    spoken = router(scripted=("en", "no"))
    for language in ("no", "nb", "nn-NO"):
        request = SpeechRequest("God dag.", language=language, backend="scripted")
        assert arm_of(spoken, request).language == "no"


def test_a_voice_that_is_not_there_is_answered_with_each_name_once() -> None:
    def asked(names: tuple[str, ...]) -> str:
        known = {"hibari": Named(names)}
        with pytest.raises(InvalidInput) as caught:
            request = SpeechRequest("Hello.", voice="nobody")
            arm_of(Router(known, "hibari", lambda tenant, name: None), request)  # type: ignore[arg-type]
        return str(caught.value)

    assert asked(("default",)).endswith("it has: default")
    assert asked(("heart", "default")).endswith("it has: default, heart")


@pytest.mark.parametrize(
    ("text", "languages", "who"),
    [
        ("你好", ("de", "zh-CN", "ja"), "scripted can (zh-CN, ja): set 'backend' and 'language'"),
        ("これは日本語", ("zh-CN", "ja"), "scripted can (ja): set 'backend' and 'language'"),
        ("Это по-русски", ("de", "ru", "uk"), "scripted can (ru, uk): set 'backend' and 'language'"),
        ("Это по-русски", ("de", "el"), "no backend that is loaded or could be installed here can"),
        ("עברית", ("*",), "scripted can: set 'backend' and 'language'"),
    ],
)
def test_who_speaks_a_script_is_found_by_the_languages_written_in_it(
    text: str, languages: tuple[str, ...], who: str
) -> None:
    told = router(scripted=languages).speakers.of_text(text, "hibari")
    assert told == f"{who}. `voxgate backends` lists all"
    assert router(scripted=languages).speakers.of_text("Plain Latin, naïve.", "hibari") == ""


@pytest.mark.slow
async def test_a_job_in_a_script_or_language_its_voice_cannot_speak_tells_who_could(tmp_path: Path) -> None:
    async with running(tmp_path, plugins=("hibari", "scripted"), default_backend="hibari") as caller:
        job = await caller.say("Hello. 你好，世界。")
        assert job["status"] == "FAILED"
        assert "cannot speak Chinese characters" in job["error"]
        assert job["error"].endswith("; scripted can: set 'backend' and 'language'. `voxgate backends` lists all")
        foreign = await caller.say("Guten Tag.", language="de")
        assert "hibari speaks en-US, not 'de'; scripted can: set 'backend'." in foreign["error"]
        unknown = await caller.say("Hello.", language="xx")
        assert unknown["status"] == "FAILED"
        assert unknown["error"].startswith("language must be a BCP 47 tag such as ")
        assert unknown["error"].endswith(", got 'xx'; hibari speaks en-US; scripted speaks any")
