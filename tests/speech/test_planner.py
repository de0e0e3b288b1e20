"""Long texts are read and planned in processes of their own, as they would be here."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio
from support.hosting import until
from support.peaks import children

from backends.interface import ChunkRule, Limit, Voice
from gateway.cache.keys import Recipe, Source
from gateway.engines.errors import HostStopped
from gateway.errors import InvalidInput, ReadingFailed
from gateway.speech.decode import decode_request
from gateway.speech.planner import LONG_CHARS, Planner, PlanOrder, planned, respelled_key
from gateway.speech.text.language import UnknownLanguage
from gateway.speech.text.lexicon import Lexicon, Pronunciation
from gateway.speech.text.script import PlanVoices, VoiceUse

MODULE = "gateway.speech.planner"
SOURCE = Source("tenant:anna", "scripted", "1", "voice", "en", b"{}")
VOICES = PlanVoices(VoiceUse(Voice("low", ("en",), "voice"), SOURCE))
WORDS = Lexicon([Pronunciation("fox", "foks")])
PROSE = "The quick brown fox jumps over the lazy dog, and then? It sleeps. "
SLOW = "a" + "“a " * 600_000


def order(text: str, lexicon: Lexicon | None = None, spelled_out: bool = False) -> PlanOrder:
    return PlanOrder(
        text=text,
        language="en",
        rule=ChunkRule(1, 40, Limit(280)),
        spelled_out=spelled_out,
        lexicon=lexicon,
        voices=VOICES,
        seed=7,
        speed=1.25,
        rate=24_000,
    )


@pytest_asyncio.fixture
async def planner() -> AsyncIterator[Planner]:
    planner = Planner()
    yield planner
    await planner.stop()


@pytest.mark.parametrize("text", [PROSE * 5_000, "One.\n\n***\n\nTwo 2.\n" * 8_000], ids=["prose", "paragraphs"])
@pytest.mark.parametrize("lexicon", [None, WORDS], ids=["as written", "respelled"])
async def test_a_long_text_is_planned_elsewhere_as_it_would_be_here(
    planner: Planner, text: str, lexicon: Lexicon | None
) -> None:
    made = await planner.plan(order(text, lexicon), "anna")
    assert made == planned(order(text, lexicon))
    assert len(made.script) == len(made.plan.speaks) > 2_000
    assert len(children(MODULE)) == 1


async def test_a_short_text_starts_no_process(planner: Planner) -> None:
    text = PROSE * (LONG_CHARS // len(PROSE))
    assert await planner.plan(order(text), "anna") == planned(order(text))
    assert not children(MODULE)


async def test_the_key_of_a_long_text_is_the_one_it_has_here(planner: Planner) -> None:
    recipe = Recipe(PROSE * 3_000, 0, "1", (1, 40, 280, "chars"), 1.0, None, "mp3", "lame", 128)
    for lexicon in (None, WORDS, Lexicon([Pronunciation("cat", "kat")])):
        assert await planner.key(SOURCE, recipe, lexicon, "anna") == respelled_key(SOURCE, recipe, lexicon)


async def test_a_long_input_is_decoded_and_refused_as_it_would_be_here(planner: Planner) -> None:
    raw = msgspec.json.encode({"text": PROSE * 5_000, "options": {"a": 1}})
    assert await planner.decode(raw, {"speed": 1.5}, "anna") == decode_request(raw, {"speed": 1.5})
    for wrong, error in (({"txt": PROSE * 5_000}, InvalidInput), ({"text": PROSE, "language": "?"}, UnknownLanguage)):
        with pytest.raises(error) as here:
            decode_request(msgspec.json.encode(wrong))
        with pytest.raises(error) as there:
            await planner.decode(msgspec.json.encode(wrong), None, "anna")
        assert str(here.value) == str(there.value)


async def test_the_death_of_a_process_fails_the_text_it_had_and_no_other(planner: Planner) -> None:
    poisonous = asyncio.ensure_future(planner.plan(order(SLOW), "anna"))
    await until(lambda: children(MODULE))
    [pid] = children(MODULE)
    behind = asyncio.ensure_future(planner.plan(order(PROSE * 1_000), "anna"))
    beside = asyncio.ensure_future(planner.plan(order(PROSE * 1_000), "bert"))
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ReadingFailed, match=r"killed by SIGKILL.*Other texts are not affected.*smaller parts"):
        await poisonous
    assert (await behind).plan == (await beside).plan == planned(order(PROSE * 1_000)).plan


async def test_a_tenants_long_texts_are_read_one_after_the_other_and_another_tenants_beside_them(
    planner: Planner,
) -> None:
    done: list[str] = []

    async def plan(name: str, text: str, tenant: str) -> None:
        await planner.plan(order(text), tenant)
        done.append(name)

    slow = [asyncio.ensure_future(plan(f"slow {n}", SLOW, "anna")) for n in range(3)]
    await asyncio.sleep(0)
    await plan("quick", PROSE * 1_000, "bert")
    assert len(children(MODULE)) == 2, "one for each tenant"
    assert "slow 1" not in done
    await asyncio.gather(*slow)
    assert done[-3:] == ["slow 0", "slow 1", "slow 2"] or done[-2:] == ["slow 1", "slow 2"]
    assert len(children(MODULE)) == 2


async def test_stopping_ends_what_is_under_way() -> None:
    planner = Planner()
    call = asyncio.ensure_future(planner.plan(order(SLOW), "anna"))
    await until(lambda: children(MODULE))
    await planner.stop()
    with pytest.raises(HostStopped):
        await call
    assert not children(MODULE)
