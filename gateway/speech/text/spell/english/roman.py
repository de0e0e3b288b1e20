"""Says roman numerals in English: Chapter IV, World War II, Henry VIII, Vol. XII, scene ii."""

from __future__ import annotations

import re
import unicodedata

from gateway.speech.text.spell.english.around import word_before
from gateway.speech.text.spell.english.said import cardinal, ordinal
from gateway.speech.text.spell.english.scan import Rule, Said

_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_NUMERAL = re.compile(r"M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})(?!\w)", re.IGNORECASE)
_COUNTED = frozenset(
    "chapter chapters part parts book books act acts scene scenes volume volumes vol section sections article articles "
    "war bowl phase type types class title canto cantos stage level grade division corps psalm mark sonata symphony "
    "concerto wave schedule tier figure table plate page pages appendix episode season olympiad olympics lesson no "
    "number vols ch sect amendment factor group page pp quartet step theorem lemma case round sura surah apollo".split()
)
_RULERS = frozenset(
    "Henry Louis Elizabeth George Charles Edward Richard James William Philip Philippe Napoleon Pius Paul "
    "Benedict Gregory "
    "Leo Innocent Alexander Catherine Nicholas Ramesses Rameses Ptolemy Victor Wilhelm Friedrich Frederick Otto Ludwig "
    "Gustav Gustavus Charles Karl Carlos Alfonso Ferdinand Francis Franz Peter Paul Ivan Boniface Clement Urban Julius "
    "Sixtus Adrian Celestine Eugene Calixtus Honorius Stephen John Mary Margaret Robert David Malcolm Harald "
    "Haakon Olaf "
    "Christian Frederik Leopold Albert Baudouin Umberto Emmanuel Emanuel Amadeus Rudolf Joseph Maximilian Constantine "
    "Justinian Theodosius Darius Xerxes Cyrus Artaxerxes Antiochus Seleucus Mehmed Murad Selim Suleiman Abdul Osman "
    "Thutmose Amenhotep Seti Cleopatra Juan Pedro Felipe Isabella Joanna Anne Matthias Sigismund Wenceslas Bela "
    "Casimir Ladislaus Vladislaus Mohammed Muhammad Hassan Abdullah Hussein Rama Naruhito Edmund Harold "
    "Ethelred Godfrey "
    "Baldwin Raymond Theodore Michael Andronicus Manuel Isaac Alexius Leon Menelik Haile Shapur Khosrow "
    "Yazdegerd".split()
)
_TITLES = frozenset(
    "King Queen Pope Emperor Empress Tsar Czar Prince Princess Duke Sultan Shah Pharaoh Kaiser Count Earl".split()
)
_SUFFIXED = re.compile(r"[A-Z][\w'’-]+ $")
_NO_NAMES = frozenset(
    "The A An And Or But In On At Is Was Do Did If So As To By Of For When Can Should Am Mr Dr World That "
    "This Then Now Here There What Why How Who Where Yes No Well Vitamin Group Plan Type Model".split()
)


def _value(numeral: str) -> int:
    total = highest = 0
    for letter in reversed(numeral.upper()):
        value = _VALUES[letter]
        total += value if value >= highest else -value
        highest = max(highest, value)
    return total


def _roman(text: str, at: int) -> Said | None:
    found = _NUMERAL.match(text, at)
    if (
        found is None
        or not found[0]
        or text[max(0, at - 1) : at].isalnum()
        or text[max(0, at - 1) : at] in ("'", "’", ".", "-", "&")
    ):
        return None
    numeral, end = found[0], found.end()
    if text[end : end + 2] in ("'m", "'l", "'d", "'v", "’m", "’l", "’d", "’v") or text[end : end + 1] == "-":
        return None
    before = word_before(text, at)
    low = before.rstrip(".").lower()
    counted = low in _COUNTED and (before[:1].isupper() or numeral.islower() or len(numeral) > 1)
    if numeral != numeral.upper() and not (numeral.islower() and counted and set(numeral) <= set("ivxl")):
        return None
    if len(numeral) == 1 and numeral.upper() not in "IVX":
        return None
    value = str(_value(numeral))
    if counted and text[at - 1 : at] in (" ", "\u00a0"):
        return end, cardinal(value)
    if not set(numeral) <= set("IVX") or text[max(0, at - 1) : at] not in (" ", "\u00a0"):
        return None
    name = before
    if name in _RULERS or _ruled(text, at, name):
        if len(numeral) > 1 or numeral in "VX" or _ruled(text, at, name):
            return end, f"the {ordinal(value)}"
        return _first(text, at, end, value)
    if (
        len(numeral) > 1
        and numeral != "XX"
        and name[:1].isupper()
        and name not in _NO_NAMES
        and _SUFFIXED.search(text[max(0, at - 30) : at])
    ):
        return end, cardinal(value)
    return None


def _ruled(text: str, at: int, name: str) -> bool:
    """Return whether a title stands before the name: Queen Mary."""
    place = text.rfind(name, max(0, at - 40), at) if name else -1
    return place > 0 and name[:1].isupper() and word_before(text, place) in _TITLES


def _first(text: str, at: int, end: int, value: str) -> Said | None:
    """Say `Elizabeth I` as the first where no verb follows, which would make it the word I."""
    after = text[end : end + 1]
    return (end, f"the {ordinal(value)}") if after in (".", ",", ";", ":", ")", "’", "'", "") else None


def _heading(text: str, at: int) -> Said | None:
    """Say the numeral that begins a line of a list."""
    if at != 0 and text[at - 1] != "\n":
        return None
    found = re.compile(r"([IVX]{2,6}|[VX])(?=[.)] +[A-Z\"'“])").match(text, at)
    if found is None or _NUMERAL.fullmatch(found[1]) is None:
        return None
    return found.end() + 1, f"{cardinal(str(_value(found[1])))},"


def _sign(text: str, at: int) -> Said | None:
    """Say the numerals that are single characters: Ⅳ."""
    found = re.compile("[\u2160-\u217f]+").match(text, at)
    if found is None:
        return None
    numeral = unicodedata.normalize("NFKC", found[0])
    if _NUMERAL.fullmatch(numeral) is None:
        return None
    value = str(_value(numeral))
    before = word_before(text, at)
    return found.end(), f"the {ordinal(value)}" if before in _RULERS else cardinal(value)


def _numerals() -> dict[str, tuple[Rule, ...]]:
    tens, units = (
        ("", "X", "XX", "XXX", "XL", "L", "LX", "LXX", "LXXX", "XC"),
        ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX"),
    )
    small = [f"{hundreds}{ten}{unit}" for hundreds in ("", "C", "CC") for ten in tens for unit in units]
    years = [
        f"M{century}{ten}{unit}"
        for century in ("", "D", "DC", "DCC", "DCCC", "CM", "M", "MM")
        for ten in tens
        for unit in units
    ]
    names = [name for name in (*small, *years) if name]
    return {spelled: (_heading, _roman) for name in names for spelled in (name, name.lower())}


WORDS: dict[str, tuple[Rule, ...]] = _numerals()
SIGNS: dict[str, tuple[Rule, ...]] = {chr(code): (_sign,) for code in range(0x2160, 0x2180)}
