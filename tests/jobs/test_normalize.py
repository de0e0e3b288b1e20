"""`normalize`: words for figures, where a backend wants them or a caller asks."""

from __future__ import annotations

from pathlib import Path

from support.running import running

TEXT = "Dr. Smith paid $3.50."
WORDS = "Doctor Smith paid three dollars and fifty cents."


async def test_figures_become_words_on_request_and_the_answer_holds_what_was_spoken(tmp_path: Path) -> None:
    async with running(tmp_path) as caller:
        plain = await caller.say(TEXT)
        spelled = await caller.say(TEXT, normalize="on")
        assert [chunk["text"] for chunk in plain["output"]["chunks"]] == [TEXT]
        assert [chunk["text"] for chunk in spelled["output"]["chunks"]] == [WORDS]
        assert plain["output"]["cache_key"] != spelled["output"]["cache_key"]
        assert (await caller.say(TEXT, normalize="off"))["output"]["cache_hit"] is True
        assert (await caller.say(TEXT, normalize="on"))["output"]["cache_hit"] is True


async def test_a_backend_that_wants_words_gets_them_unless_the_caller_says_no(tmp_path: Path) -> None:
    backends = {"scripted": {"spell_out": True}}
    async with running(tmp_path, backends=backends) as caller:
        assert [c["text"] for c in (await caller.say(TEXT))["output"]["chunks"]] == [WORDS]
        assert [c["text"] for c in (await caller.say(TEXT, normalize="off"))["output"]["chunks"]] == [TEXT]


async def test_a_language_without_words_for_numbers_is_spoken_as_written_and_says_so(tmp_path: Path) -> None:
    async with running(tmp_path) as caller:
        job = await caller.say("Ndine 17.", language="ny", normalize="on")
        assert [w["code"] for w in job["output"]["warnings"]] == ["not_normalized"]
        strict = await caller.say("Ndine 17.", language="ny", normalize="on", strict=True)
        assert strict["status"] == "FAILED"


async def test_an_unknown_word_for_it_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as caller:
        job = await caller.say(TEXT, normalize="yes")
        assert "normalize must be one of auto, on, off" in job["error"]
