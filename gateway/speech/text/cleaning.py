"""Cleans text for engines: removes control characters, lone surrogates and phoneme overrides."""

from __future__ import annotations

import re
import unicodedata

_ANSI = re.compile("\x1b\\[[0-9;?]*[ -/]*[@-~]")
_NEWLINE = re.compile("\r\n?|[\x0b\x0c\x85\u2028]")
# Controls, soft hyphen, direction marks, invisible operators, byte order mark, lone surrogates, noncharacters: they
# have no sound, and each has made some engine fail. ZWJ and ZWNJ stay: emoji, Persian and Indic words need them.
_UNHEARD = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff]+"
)
# hibari (like misaki and Kokoro) reads `[word](/phonemes/)` as phonemes. The lengths bound the search.
_OVERRIDE = re.compile(r"\[([^\[\]]{1,200})\]\(/[^()]{0,400}\)")
_SPOKEN = re.compile(r"[^\W_]")
_MARK_RUN = re.compile(r"[^\w\s\x00-\x7f]{31,}")
_MAX_MARKS = 30  # of the Stream-Safe Text Format, Unicode Standard Annex 15


def clean(text: str) -> str:
    """Return the text without characters that make engines fail, in Unicode's composed form (NFC).

    Newlines stay, since they separate paragraphs; other line separators become newlines. `[word](/phonemes/)`
    becomes `word`, so that a caller's text is never read as an engine's markup. Takes linear time.
    """
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    text = _NEWLINE.sub("\n", text)
    if "\u2029" in text:
        text = text.replace("\u2029", "\n\n")
    text = _UNHEARD.sub("", text)
    if not text.isascii():
        # Normalising a run of combining marks takes quadratic time, so a long run is shortened first.
        text = _MARK_RUN.sub(_shorten_marks, text)
        text = unicodedata.normalize("NFC", text)
    if "](/" in text:
        text = _OVERRIDE.sub(r"\1", text).replace("](/", "] (/")
    return text


def has_speech(text: str) -> bool:
    """Return whether the text has a letter or digit, in any script; a text without one has nothing to speak."""
    return _SPOKEN.search(text) is not None


def _shorten_marks(run: re.Match[str]) -> str:
    kept: list[str] = []
    marks = 0
    for char in run.group():
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= _MAX_MARKS:
            kept.append(char)
    return "".join(kept)
