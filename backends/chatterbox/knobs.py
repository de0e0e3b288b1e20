"""The sampling options of a chunk, completed with the model's defaults."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import msgspec

from backends.chatterbox.models import Model
from backends.chatterbox.settings import ChatterboxOptions

TOKENS_PER_S = 25
_CHAR_S = 1 / 14  # of English read aloud
# Scripts whose characters are syllables or words.
_SCRIPTS_S = {"CJK": 0.21, "HIRAGANA": 0.13, "KATAKANA": 0.13, "HANGUL": 0.18}
_WORD_S = 0.38  # of a digit or a sign that is not spelled out
_MIN_TOKENS, _MAX_TOKENS = 75, 1000


class Knobs(msgspec.Struct, frozen=True):
    """Sampling options; see ChatterboxOptions. A `top_p` of 0 always takes the likeliest token."""

    exaggeration: float = 0.5
    cfg_weight: float = 0.5
    temperature: float = 0.8
    min_p: float = 0.05
    top_p: float = 1.0
    repetition_penalty: float = 1.2


def knobs_of(options: ChatterboxOptions, model: Model) -> Knobs:
    """Combine a request's options with the defaults of upstream's `generate()`."""
    return Knobs(
        options.exaggeration,
        options.cfg_weight,
        options.temperature,
        model.min_p if options.min_p is None else options.min_p,
        model.top_p if options.top_p is None else options.top_p,
        model.repetition_penalty if options.repetition_penalty is None else options.repetition_penalty,
    )


def token_cap(text: str) -> int:
    """Return the number of speech tokens after which decoding is cut: twice the usual duration and 2 s more.

    Without it a chunk whose end token is missed is noise up to upstream's limit of 1000 tokens, 40 s.
    """
    usual = TOKENS_PER_S * sum(map(_seconds, text))
    return min(_MAX_TOKENS, max(_MIN_TOKENS, round(2 * usual) + 2 * TOKENS_PER_S))


@lru_cache(maxsize=4096)
def _seconds(char: str) -> float:
    kind = unicodedata.category(char)[0]
    if kind == "L":
        return _SCRIPTS_S.get(unicodedata.name(char, "").partition(" ")[0], _CHAR_S)
    return _WORD_S if kind in "NS" or char in "%@&#" else _CHAR_S
