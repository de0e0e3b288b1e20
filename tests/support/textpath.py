"""Checks properties that must hold for every text, on its way from bytes to chunks."""

from __future__ import annotations

import html

from backends.interface import ChunkRule, Limit
from gateway.errors import InvalidInput
from gateway.speech.decode import decode_request
from gateway.speech.subtitles import LINES, Cue, split, srt, vtt
from gateway.speech.text.cleaning import clean, has_speech
from gateway.speech.text.plan import Plan, make_plan, split_again
from gateway.speech.text.spell import spell_out

RULES = (
    ChunkRule(40, 40, Limit(280)),
    ChunkRule(40, 240, Limit(300)),
    ChunkRule(5, 10, Limit(20)),
    ChunkRule(40, 400, Limit(900, "utf8_bytes")),
    ChunkRule(1, 10, Limit(16, "utf8_bytes")),
)
LANGUAGES = ("en", "en-GB", "de", "zh", "ar", "hi")
LONGEST_MESSAGE = 1000
MOST_WORDS = 80
"""The most times a text may grow when its figures are spelled out."""


def letters(text: str) -> str:
    return "".join(char for char in text if char.isalnum())


def check_request(raw: bytes) -> str | None:
    """Decode bytes; return the text of the request, None if they are refused with an error message."""
    try:
        request = decode_request(raw)
    except InvalidInput as error:
        message = str(error)
        assert 0 < len(message) <= LONGEST_MESSAGE, message[:100]
        message.encode()
        return None
    assert has_speech(request.text)
    assert clean(request.text) == request.text, "what is cleaned is clean"
    return request.text


def check_text(text: str, nth: int = 0) -> None:
    """Run every step on a text and check the results; `nth` chooses rule and language."""
    rule, language = RULES[nth % len(RULES)], LANGUAGES[nth % len(LANGUAGES)]
    cleaned = clean(text)
    cleaned.encode()  # no lone surrogate is left
    plan = make_plan(text, language, rule)
    _check_plan(plan, cleaned, rule)
    for speak in plan.speaks[:4]:
        pieces = split_again(speak.text, language, rule)
        assert letters("".join(pieces)) == letters(speak.text)
        half = max(1, -(-len(speak.text) // 2))
        assert len(pieces) == 1 or max(map(len, pieces)) <= half
    words = spell_out(cleaned, language)
    assert words.count("\n") == cleaned.count("\n")
    assert len(words) <= MOST_WORDS * len(cleaned) + 100
    _check_plan(make_plan(text, language, rule, spelled_out=True), words, rule)
    _check_subtitles(plan)


def _check_plan(plan: Plan, cleaned: str, rule: ChunkRule) -> None:
    assert letters("".join(speak.text for speak in plan.speaks)) == letters(cleaned), "every letter once, in order"
    for speak in plan.speaks:
        size = len(speak.text) if rule.max.unit == "chars" else len(speak.text.encode())
        assert 0 < size <= rule.max.n
        assert speak.text == speak.text.strip() and has_speech(speak.text)


def _check_subtitles(plan: Plan) -> None:
    cues = [Cue(1000 * n, 1000 * n + 900, speak.text) for n, speak in enumerate(plan.speaks)]
    for written, head in ((srt(cues), 1), (vtt(cues), 0)):
        body = written.removeprefix("WEBVTT\n\n").removeprefix("WEBVTT\n").strip("\n")
        blocks = body.split("\n\n") if body else []
        assert len(blocks) == len(split(cues)), "no text can end its cue"
        shown = ""
        for block in blocks:
            lines = block.split("\n")
            assert " --> " in lines[head] and block.count("-->") == 1, "no text can be read as times"
            assert 1 <= len(lines) - head - 1 <= LINES
            shown += "".join(lines[head + 1 :])
        assert letters(html.unescape(shown) if head == 0 else shown) == letters("".join(cue.text for cue in cues))
