"""Says short words before numbers in English: pp. 12-15, No. 10, Fig. 7, Vol. XII, # 3, § 4."""

from __future__ import annotations

import re

from gateway.speech.text.spell.english.scan import Rule, Said

_SHORT = {
    "No": "number", "no": "number", "Nos": "numbers", "nos": "numbers", "Nr": "number", "p": "page", "pp": "pages",
    "P": "page", "pg": "page", "pgs": "pages", "Vol": "volume", "vol": "volume", "Vols": "volumes", "vols": "volumes",
    "Fig": "figure", "fig": "figure", "Figs": "figures", "figs": "figures", "Ch": "chapter", "ch": "chapter",
    "Chap": "chapter", "chap": "chapter", "Chs": "chapters", "Sec": "section", "sec": "section", "Sect": "section",
    "Art": "article", "art": "article", "Eq": "equation", "eq": "equation", "Eqs": "equations", "eqs": "equations",
    "Tab": "table", "tab": "table", "App": "appendix", "app": "appendix", "Ex": "example", "ex": "example",
    "Para": "paragraph", "para": "paragraph", "Paras": "paragraphs", "paras": "paragraphs", "Ed": "edition",
    "l": "line", "ll": "lines", "v": "verse", "vv": "verses", "vs": "verse", "fol": "folio", "Pt": "part", "pt": "part",
    "Apt": "apartment", "apt": "apartment", "Ste": "suite", "ste": "suite", "Rm": "room", "rm": "room", "Rte": "route",
    "rte": "route", "Hwy": "highway", "Bldg": "building", "bldg": "building", "Flr": "floor", "Bk": "book",
    "bk": "book", "Ext": "extension", "ext": "extension", "Tel": "telephone", "tel": "telephone", "Ser": "series",
    "ser": "series", "Sc": "scene", "sc": "scene", "Cap": "chapter", "Col": "column", "col": "column", "n": "note",
    "Op": "opus", "op": "opus", "Lot": "lot", "Ref": "reference", "ref": "reference", "Inv": "invoice",
}  # fmt: skip
_NEEDS_NUMBER = re.compile(r"\.[ \u00a0]?(?=[#\d]|[IVXLC]+\b|[ivxlc]+\b(?!['’]))")
_BARE = frozenset(("pp", "pgs", "pg", "Vol", "vol", "Fig", "Figs", "fig", "Apt", "Rm", "Eq", "Eqs"))
_BARE_NUMBER = re.compile(r"[ \u00a0](?=\d)")
_COUNTING = frozenset(
    "page pages number numbers chapter chapters section sections figure figures volume volumes verse verses line lines "
    "table tables room rooms apartment apartments suite article articles part parts item items question questions "
    "exercise exercises lesson lessons step steps slide slides building route highway bus gate platform lot paragraph "
    "paragraphs code id pin psalm".split()
)


def counts(word: str) -> bool:
    """Return whether a number after this word is a number in a row and no year: page, No., Fig."""
    bare = word.rstrip(".")
    return bare.lower() in _COUNTING or (word.endswith(".") and bare in _SHORT) or bare in _BARE


def _prefix(text: str, at: int) -> Said | None:
    name = re.compile(r"[A-Za-z]+").match(text, at)
    if name is None or text[max(0, at - 1) : at] in (".", "'", "’"):
        return None
    found = _NEEDS_NUMBER.match(text, name.end())
    if found is None and name[0] in _BARE:
        found = _BARE_NUMBER.match(text, name.end())
    if found is None:
        return None
    said = _SHORT[name[0]]
    if name[0] in ("l", "v", "n", "P") and not re.match(r"\d", text[found.end() : found.end() + 1]):
        return None
    return found.end(), f"{said[0].upper() if name[0][0].isupper() and at == 0 else said[0]}{said[1:]} "


def _hash(text: str, at: int) -> Said | None:
    if text[max(0, at - 1) : at].isalnum():
        return None
    found = re.compile(r"[#№] ?(?=\d)").match(text, at)
    return None if found is None else (found.end(), "number ")


def _section(text: str, at: int) -> Said | None:
    found = re.compile("(§§?)[ \u00a0]?(?=\\w)").match(text, at)
    return None if found is None else (found.end(), "sections " if found[1] == "§§" else "section ")


WORDS: dict[str, tuple[Rule, ...]] = dict.fromkeys(_SHORT, (_prefix,))
SIGNS: dict[str, tuple[Rule, ...]] = {"#": (_hash,), "№": (_hash,), "§": (_section,)}
