"""Says single signs in English that no other rule has read: ∞, the € itself, ①, π, C#, hashtags, C++."""

from __future__ import annotations

import re
import unicodedata

from gateway.speech.text.spell.english.quantities import vulgar_fraction
from gateway.speech.text.spell.english.said import cardinal
from gateway.speech.text.spell.english.scan import Rule, Said
from gateway.speech.text.spell.english.units import CURRENCIES

_NAMES = {
    "∑": "sum", "∏": "product", "∞": "infinity", "∂": "partial", "∇": "nabla", "∫": "integral", "∈": "in",
    "∉": "not in",
    "∀": "for all", "∃": "there exists", "∄": "there is no", "∅": "the empty set", "∩": "intersection", "∪": "union",
    "⊂": "subset of", "⊆": "subset of or equal to", "⊃": "superset of", "¬": "not", "∧": "and", "∨": "or",
    "⊕": "exclusive or",
    "→": "to", "⇒": "implies", "⟹": "implies", "⇔": "if and only if", "↔": "to and from", "∴": "therefore",
    "∵": "because",
    "√": "square root", "∛": "cube root", "×": "times", "÷": "divided by", "±": "plus or minus", "≠": "not equal to",
    "≤": "less than or equal to", "≥": "greater than or equal to", "≈": "approximately", "≡": "identical to",
    "∝": "proportional to", "⋅": "times", "−": "minus", "°": "degrees", "%": "percent", "‰": "per mille", "№": "number",
    "℃": "degrees Celsius", "℉": "degrees Fahrenheit", "∠": "angle", "⊥": "perpendicular to", "∥": "parallel to",
    "∆": "delta",
    "©": "copyright", "℗": "copyright", "µ": "micro", "ℓ": "liters", "Ω": "ohm", "℅": "care of", "′": "prime",
    "″": "double prime",
    "≪": "much less than", "≫": "much greater than", "≅": "congruent to", "∼": "similar to",
}  # fmt: skip
_SILENT = frozenset("|~^`<>+=←↑↓⇐⇑⇓▶◀►◄▷◁")
"""Maths signs by Unicode's classes that are marks in a text: rules, arrows at lists, quotations."""
_GREEK = re.compile("GREEK (?:SMALL|CAPITAL) LETTER (?:FINAL )?([A-Z]+)$")
_DROPPED = re.compile(r" (?:SIGN|SYMBOL|OPERATOR)$|^N-ARY |^IDEOGRAPHIC ")
_HASHTAG = re.compile(r"#(?=[^\W\d_])")
_SHARP = re.compile(r"[A-GJ]#(?!\w)")
_PLUSES = re.compile(r"(\+\+?)(?![\w+])")


def name_of(sign: str) -> str:
    """Return the word of a currency sign, a maths sign, a numeral or a Greek letter; "" for other characters."""
    known = _NAMES.get(sign)
    if known is not None:
        return known
    if sign in CURRENCIES:
        return CURRENCIES[sign][0]
    category = unicodedata.category(sign)
    if category in ("No", "Nl", "Nd"):
        return _numeral(sign)
    name = unicodedata.name(sign, "")
    greek = _GREEK.match(name)
    if greek is not None:
        return greek[1].lower().replace("lamda", "lambda")
    if category not in ("Sc", "Sm") or sign in _SILENT:
        return ""
    plain = unicodedata.normalize("NFKC", sign)
    if plain != sign and len(plain) == 1 and plain.isalnum():
        return plain
    return _DROPPED.sub("", name).replace("-", " ").lower()


def _numeral(sign: str) -> str:
    plain = unicodedata.normalize("NFKC", sign)
    if "\u2044" in plain:
        return (
            "zero thirds" if sign == "\u2189" else vulgar_fraction(sign) if not plain.endswith("\u2044") else "one over"
        )
    figures = re.sub(r"\D", "", plain)
    if figures.isdigit() and figures:
        return cardinal(str(int(figures)))
    value = unicodedata.numeric(sign, None)
    return cardinal(str(int(value))) if value is not None and value == int(value) and value >= 0 else ""


def _lone(text: str, at: int) -> Said | None:
    sign = text[at]
    if sign.isascii() and sign != "$" and sign != "%":
        return None
    if sign == "→" and text[:at].rpartition("\n")[2].strip() == "":
        return None  # the mark of a list
    said = name_of(sign)
    if not said:
        return None
    left = " " if text[max(0, at - 1) : at] not in ("", " ", "\n") and (at and text[at - 1].isalnum()) else ""
    right = " " if text[at + 1 : at + 2].isalnum() else ""
    return at + 1, f"{left}{said}{right}"


def _letter(text: str, at: int) -> Said | None:
    said = name_of(text[at])
    return (at + 1, said) if said else None


def _hashtag(text: str, at: int) -> Said | None:
    if text[max(0, at - 1) : at].isalnum():
        return None
    return (at + 1, "hashtag ") if _HASHTAG.match(text, at) else None


def _sharp(text: str, at: int) -> Said | None:
    found = _SHARP.match(text, at)
    return None if found is None else (found.end(), f"{text[at]} sharp")


def _pluses(text: str, at: int) -> Said | None:
    found = _PLUSES.match(text, at)
    if found is None or not text[max(0, at - 1) : at].isalnum():
        return None
    return found.end(), " plus" * len(found[1])


GLUED: tuple[Rule, ...] = (_sharp,)
ANY: tuple[Rule, ...] = (_lone,)
SIGNS: dict[str, tuple[Rule, ...]] = {"#": (_hashtag,), "+": (_pluses,)}
WORDS: dict[str, tuple[Rule, ...]] = {
    chr(code): (_letter,)
    for code in (*range(0x391, 0x3CA), 0xB5, 0x2126)
    if unicodedata.category(chr(code)).startswith("L")
}
