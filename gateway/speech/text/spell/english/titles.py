"""Says titles, streets and other abbreviations in English: Dr. Lee, Elm Dr., St. James's St., e.g., Ltd., w/o."""

from __future__ import annotations

import re

from gateway.speech.text.spell.english.around import STARTERS, sentence_ends, word_after, word_before
from gateway.speech.text.spell.english.scan import Rule, Said

_TITLES = {
    "Dr": "Doctor", "Drs": "Doctors", "Mr": "Mister", "Mrs": "Missus", "Ms": "Miz", "Mx": "Mix", "Messrs": "Messieurs",
    "Prof": "Professor", "Profs": "Professors", "Mt": "Mount", "Ft": "Fort", "Pt": "Port", "Lt": "Lieutenant",
    "Col": "Colonel", "Gen": "General", "Capt": "Captain", "Cpt": "Captain", "Cmdr": "Commander", "Maj": "Major",
    "Sgt": "Sergeant", "Cpl": "Corporal", "Pvt": "Private", "Adm": "Admiral", "Gov": "Governor", "Sen": "Senator",
    "Rev": "Reverend", "Hon": "Honorable", "Pres": "President", "Rep": "Representative", "Supt": "Superintendent",
    "Insp": "Inspector", "Det": "Detective", "Sta": "Santa", "Msgr": "Monsignor", "Fr": "Father", "Br": "Brother",
    "Sr": "Sister", "Amb": "Ambassador", "Atty": "Attorney", "Cdr": "Commander", "Brig": "Brigadier",
    "Treas": "Treasurer",
}  # fmt: skip
_UNDOTTED = frozenset(("Dr", "Mr", "Mrs", "Ms", "Prof"))
_ALONE = frozenset(
    ("Dr", "Prof", "Gov", "Sen", "Rev", "Capt", "Sgt", "Col", "Gen", "Lt", "Maj", "Pres", "Rep", "Mr", "Mrs")
)
_STREETS = {
    "St": "Street", "Ave": "Avenue", "Av": "Avenue", "Blvd": "Boulevard", "Rd": "Road", "Dr": "Drive", "Ln": "Lane",
    "Ct": "Court", "Pl": "Place", "Sq": "Square", "Hwy": "Highway", "Pkwy": "Parkway", "Ter": "Terrace",
    "Terr": "Terrace", "Cir": "Circle", "Cres": "Crescent", "Tpke": "Turnpike", "Expy": "Expressway", "Fwy": "Freeway",
    "Plz": "Plaza", "Bldg": "Building", "Rte": "Route", "Mt": "Mountain", "Crk": "Creek", "Hts": "Heights",
}  # fmt: skip
_ONLY_STREETS = frozenset(("Ave", "Blvd", "Rd", "Ln", "Hwy", "Pkwy", "Cres", "Tpke", "Expy", "Fwy"))
_SAINTS = frozenset(
    "Agnes Andrew Andrews Anne Ann Anthony Augustine Barts Bartholomew Bernard Catharines Catherine Catherines "
    "Charles Clair "
    "Clare Cloud Croix David Edmunds Francis Gallen George Georges Germain Gilles Giles Helena Helens Ives "
    "James Jerome Joan "
    "Joe John Johns Joseph Jude Kilda Kitts Lawrence Leger Leonard Leonards Louis Lucia Lucie Luke Margaret Mark Marks "
    "Martin Martins Mary Marys Matthew Michael Michaels Mirren Moritz Nicholas Olaf Pancras Patrick Paul Pauls "
    "Peter Peters "
    "Petersburg Philip Pierre Stephen Stephens Teresa Theresa Thomas Tropez Valentine Vincent Vitus Xavier Nick".split()
)
_SHORT = {
    "vs": "versus", "viz": "namely", "approx": "approximately", "Approx": "Approximately", "appt": "appointment",
    "dept": "department", "Dept": "Department", "depts": "departments", "Jr": "Junior", "Sr": "Senior", "jr": "junior",
    "sr": "senior", "Inc": "Incorporated", "Ltd": "Limited", "Corp": "Corporation", "Co": "Company", "Cos": "Companies",
    "Bros": "Brothers", "ca": "circa", "cf": "compare", "Assn": "Association", "assn": "association",
    "Assoc": "Associates",
    "Univ": "University", "univ": "university", "Inst": "Institute", "govt": "government", "Govt": "Government",
    "mgr": "manager", "Mgr": "Manager", "mgmt": "management", "asst": "assistant", "Asst": "Assistant",
    "incl": "including",
    "excl": "excluding", "esp": "especially", "misc": "miscellaneous", "Misc": "Miscellaneous", "est": "estimated",
    "Est": "Established", "max": "maximum", "min": "minimum", "avg": "average", "temp": "temperature",
    "resp": "respectively",
    "orig": "originally", "prev": "previous", "ibid": "ibidem", "Ph": "Ph", "etc": "et cetera", "al": "al",
    "ft": "feet",
    "tel": "telephone", "Tel": "Telephone", "Hon": "Honorable", "Intl": "International", "intl": "international",
    "Natl": "National", "natl": "national", "Mfg": "Manufacturing", "Eng": "Engineering", "Ref": "Reference",
    "lb": "pound",
    "lbs": "pounds", "oz": "ounces", "hr": "hour", "hrs": "hours", "mins": "minutes", "secs": "seconds", "yr": "year",
    "yrs": "years", "wk": "week", "wks": "weeks", "mos": "months", "qty": "quantity", "Qty": "Quantity",
    "ext": "extension",
    "Ext": "Extension", "Apt": "Apartment", "apt": "apartment", "Mag": "Magazine", "Ave": "Avenue", "Blvd": "Boulevard",
    "Rd": "Road", "Hwy": "Highway", "Pkwy": "Parkway", "Bldg": "Building", "bldg": "building", "Fig": "Figure",
    "fig": "figure", "Figs": "Figures", "figs": "figures", "Vol": "Volume", "vol": "volume", "vols": "volumes",
    "Ed": "Edition", "ed": "edition", "eds": "editors", "trans": "translated", "Ch": "Chapter", "Sec": "Section",
    "para": "paragraph", "paras": "paragraphs", "eq": "equation", "eqs": "equations", "pp": "pages", "No": "No",
}  # fmt: skip
_KEPT = frozenset(
    (
        "Ph",
        "al",
        "No",
        "Ed",
        "Est",
        "min",
        "ft",
        "lb",
        "Eng",
        "Mag",
        "trans",
        "ed",
        "Co",
        "max",
        "temp",
        "Ref",
        "Ch",
        "Sec",
        "para",
        "orig",
        "est",
    )
)
"""Short words that need more than a dot: `No.` and `Ed.` are words or names at a sentence's end."""
_DOTTED = re.compile(
    r"(?:e\. ?g|i\. ?e|a\. ?k\. ?a|p\. ?s|n\. ?b|w\. ?r\. ?t|q\. ?v|a\. ?s\. ?a\. ?p|R\. ?S\. ?V\. ?P)\.(?!\w)",
    re.IGNORECASE,
)
_DOTTED_WORDS = {
    "eg": "for example", "ie": "that is", "aka": "also known as", "ps": "P S", "nb": "note", "wrt": "with respect to",
    "qv": "which see", "asap": "as soon as possible", "rsvp": "R S V P",
}  # fmt: skip
_UNDOTTED_WORDS = {
    "aka": "also known as",
    "eg": "for example",
    "vs": "versus",
    "approx": "approximately",
    "wrt": "with respect to",
}
_SLASHED = {"b/c": "because", "w/o": "without", "w/": "with ", "c/o": "care of", "n/a": "not applicable",
            "N/A": "not applicable",
            "and/or": "and or", "he/she": "he or she", "she/he": "she or he", "his/her": "his or her",
            "him/her": "him or her",
            "s/he": "she or he", "himself/herself": "himself or herself", "a/c": "account", "yes/no": "yes or no",
            "either/or": "either or",
            "He/she": "He or she", "And/or": "And or", "true/false": "true or false", "on/off": "on off",
            "his/hers": "his or hers"}  # fmt: skip
_WORD = re.compile(r"[A-Za-z]+")


def _name_at(text: str, at: int) -> tuple[str, int, bool]:
    found = _WORD.match(text, at)
    assert found is not None
    end = found.end()
    return found[0], end, text[end : end + 1] == "."


def _title(text: str, at: int) -> Said | None:
    name, end, dotted = _name_at(text, at)
    after = text[end + dotted :]
    named = re.match(r"[ \u00a0]?(?:[A-Z]|(?:de|van|von|la|el|al|bin|du|di)\b[ -])", after[:8]) is not None
    if not dotted:
        return (end, _TITLES[name]) if named and name in _UNDOTTED and after[:1] in " \u00a0" else None
    joined = re.match(r"[ \u00a0](?:&|and) (?:the )?[A-Z]", after[:12]) is not None
    before = word_before(text, at)
    alone = name in _ALONE and before.lower() in (
        "the",
        "a",
        "an",
        "my",
        "our",
        "your",
        "his",
        "her",
        "their",
        "this",
        "that",
        "dear",
        "good",
        "yes",
        "no",
    )
    if alone and not named:
        return end + 1, _TITLES[name] + ("." if sentence_ends(text, end + 1) else "")
    if named and alone and word_after(text, end + 1) in STARTERS:
        return end + 1, f"{_TITLES[name]}."
    if not named and not joined:
        return None
    if name in ("Sr", "Br", "Sta", "Pt") and (before[:1].isupper() or (name == "Sr" and not before)):
        return None
    gap = "" if after[:1] in (" ", "\u00a0", "") else " "
    return end + 1, _TITLES[name] + gap


def _street(text: str, at: int) -> Said | None:
    name, end, dotted = _name_at(text, at)
    before = word_before(text, at)
    named = before[:1].isupper() or re.fullmatch(r"\d+(?:st|nd|rd|th)", before) is not None
    if not dotted:
        numbered = re.search(r"\d+ (?:[NSEW]\.? )?(?:[A-Z][\w']* ){1,3}$", text[max(0, at - 60) : at]) is not None
        ended = re.match(r"\s*(?:[,.;)]|$|(?:in|and|near|is|was|at|to)\b)", text[end : end + 8]) is not None
        return (end, _STREETS[name]) if numbered and named and ended and name != "Mt" else None
    if name == "Mt" or text[max(0, at - 1) : at] not in (" ", "\u00a0"):
        return None
    ends = sentence_ends(text, end + 1, names_follow=name not in _ONLY_STREETS)
    following = word_after(text, end + 1)
    lowered = not following or following[0].islower() or text[end + 1 : end + 2] not in (" ", "\u00a0")
    if not named:
        lower_street = before.islower() and text[end + 1 :].strip() == "" and name in _STREETS and before != "the"
        return (end + 1, f"{_STREETS[name]}.") if lower_street else None
    if before in STARTERS and not re.fullmatch(r"\d+\w\w", before):
        return None
    if name in _ONLY_STREETS or lowered or ends:
        return end + 1, _STREETS[name] + ("." if ends else "")
    if (
        name == "St"
        and following.rstrip("s'’") + "s" not in _SAINTS
        and following.rstrip("'’").removesuffix("'s") not in _SAINTS
    ):
        return (end + 1, "Street") if re.search(r"\d", text[max(0, at - 30) : at]) else None
    return None


def _saint(text: str, at: int) -> Said | None:
    _, end, dotted = _name_at(text, at)
    if re.match(r"[ \u00a0]?[A-Z]", text[end + dotted : end + dotted + 2]) is None:
        return None
    following = word_after(text, end + dotted).split("'")[0].split("’")[0]
    if not dotted and following not in _SAINTS:
        return None
    return end + dotted, "Saint"


def _short(text: str, at: int) -> Said | None:
    name, end, dotted = _name_at(text, at)
    if not dotted:
        said = _UNDOTTED_WORDS.get(name)
        return (end, said) if said and text[end : end + 1] in (" ", "\u00a0", ",") else None
    if name not in _SHORT or text[max(0, at - 1) : at] in (".", "'", "’", "-", "/"):
        return None
    ends = sentence_ends(text, end + 1, names_follow=name[:1].isupper() or name in ("vs", "cf", "viz", "incl"))
    if name in _KEPT and (
        ends or name in ("Ph", "al", "No", "Ed") or text[end + 1 : end + 2] not in (" ", "\u00a0", ",")
    ):
        if name == "Co" and word_before(text, at):
            return end + 1, _SHORT[name] + ("." if ends else "")
        return None
    return end + 1, _SHORT[name] + ("." if ends else "")


def _letters(text: str, at: int) -> Said | None:
    found = _DOTTED.match(text, at)
    if found is None or text[max(0, at - 1) : at] == ".":
        return None
    said = _DOTTED_WORDS[re.sub(r"[ .]", "", found[0]).lower()]
    return found.end(), said[0].upper() + said[1:] if found[0][0].isupper() and len(said) > 4 else said


def _slashed(text: str, at: int) -> Said | None:
    for written, said in _SLASHED.items():
        end = at + len(written)
        if (
            text[at:end].lower() == written.lower()
            and not text[end : end + 1].isalnum()
            and text[max(0, at - 1) : at] not in ("/", ".")
        ):
            said = said[0].upper() + said[1:] if text[at].isupper() else said
            return end, said if not written.endswith("/") or text[end : end + 1] != " " else said.strip()
    return None


def _and(text: str, at: int) -> Said | None:
    if text[at + 1 : at + 2] == "&" or re.match(r"&(?:\w{2,8}|#\d{1,6});", text[at : at + 10]):
        return None
    left, right = text[max(0, at - 1) : at], text[at + 1 : at + 2]
    if (left.isalnum() or left in ").'’") and (right.isalnum() or right in "(.'‘"):
        return at + 1, " and "
    if left in (" ", "\u00a0") and right in (" ", "\u00a0"):
        return at + 1, "and"
    return None


def _words() -> dict[str, tuple[Rule, ...]]:
    rules: dict[str, list[Rule]] = {}
    tables: tuple[tuple[Rule, object], ...] = (
        (_letters, ("e", "i", "a", "E", "I", "p", "P", "n", "N", "A", "q", "w", "R")),
        (_street, _STREETS), (_title, _TITLES), (_saint, ("St",)), (_short, {**_SHORT, **_UNDOTTED_WORDS}),
        (_slashed, {name for word in _SLASHED for name in (word.split("/")[0], word.split("/")[0].capitalize())}),
    )  # fmt: skip
    for rule, names in tables:
        for name in names:  # type: ignore[attr-defined]
            rules.setdefault(name, []).append(rule)
    return {name: tuple(found) for name, found in rules.items()}


WORDS = _words()
SIGNS: dict[str, tuple[Rule, ...]] = {"&": (_and,)}
