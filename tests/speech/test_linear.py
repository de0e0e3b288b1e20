"""No text costs more than its length: twice of it takes less than two and a half times as long."""

from __future__ import annotations

from typing import Any

import pytest
import sentencex
from hypothesis import given
from hypothesis import strategies as st
from support.growth import growth
from support.hostile import FRAGMENTS, examples

from backends.interface import ChunkRule, Limit
from gateway.speech.text.plan import make_plan

RULE = ChunkRule(40, 240, Limit(300))
ONCE = 100_000
NESTING = "'\"“”„‟‘’‚«»‹›`´()[]{}《》『』「」"


def repeated(unit: str, chars: int) -> str:
    return "a" + unit * (chars // len(unit))


def is_linear(language: str, unit: str, chars: int) -> bool:
    """Return whether planning twice as long a text takes less than 2.5 times as long."""

    def plan(text: str) -> Any:
        return make_plan(text, language, RULE)

    # A garbage collection in one half is no growth: a text that seems to grow is measured again, four times as long.
    return growth(plan, repeated(unit, chars)) < 2.5 or growth(plan, repeated(unit, 4 * chars)) < 2.5


HOSTILE = {
    "opened quotes": "“a ",
    "apostrophes": "'",
    "code": "`make` and ",
    "a table": "'a','b',",
    "guillemets": "« ",
    "okinas": "Hawai‘i na ",
    "German quotes": '„a" ',
    "brackets": "([a ",
    "no space": "‘a",
    "Han": "你",
}


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE)
def test_twice_a_line_without_the_end_of_a_sentence_takes_twice_as_long(unit: str) -> None:
    assert is_linear("en", unit, ONCE)


units = st.lists(
    st.one_of(
        st.sampled_from(NESTING),
        st.sampled_from(FRAGMENTS),
        st.text(f"{NESTING}.!? ,aB1。\n", min_size=1, max_size=4),
    ),
    min_size=1,
    max_size=4,
).map("".join)


@given(units, st.sampled_from(("en", "de", "zh", "hi", "ar", "fr")))
@examples(25)
def test_twice_of_whatever_is_repeated_takes_twice_as_long(unit: str, language: str) -> None:
    assert is_linear(language, unit, ONCE // 4)


def test_the_segmenter_never_sees_more_than_a_few_thousand_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = sentencex.segment
    monkeypatch.setattr(sentencex, "segment", lambda language, text: seen.append(len(text)) or real(language, text))
    plan = make_plan("a" + "“a " * 30_000, "en", RULE)
    assert max(seen) <= 4096, "it holds the interpreter's lock for the square of that"
    assert max(len(speak.text) for speak in plan.speaks) <= 300


def test_a_sentence_longer_than_every_window_stays_one_sentence() -> None:
    long = "a word and another, " * 300
    plan = make_plan(f"Short. {long}and its end. Next one. ", "en", RULE)
    assert [speak.kind for speak in plan.speaks].count("sentence") == 2, "no window ends a sentence"
    assert " ".join(speak.text for speak in plan.speaks) == f"Short. {long}and its end. Next one."
