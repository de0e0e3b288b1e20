"""Words are respelled whole, the longest entry first, and in linear time."""

from __future__ import annotations

import re
import tracemalloc
import unicodedata

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.growth import cpu_s

from backends.interface import ChunkRule, Limit
from gateway.errors import InvalidInput
from gateway.speech.text.automaton import Automaton
from gateway.speech.text.cleaning import clean, has_speech
from gateway.speech.text.lexicon import (
    Lexicon,
    Pronunciation,
    Respelled,
    checked,
    for_language,
    has_capitals_within,
    identity,
)
from gateway.speech.text.plan import Plan, Speak, make_plan
from gateway.speech.text.written import as_written

RULE = ChunkRule(10, 30, Limit(40))


def lexicon(**entries: str) -> Lexicon:
    return Lexicon(
        [checked(Pronunciation(phrase.replace("_", " "), respelling)) for phrase, respelling in entries.items()]
    )


def spoken(words: Lexicon, text: str) -> str:
    found = words.respell(text)
    return text if found is None else found.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Nguyen, NGUYEN and nguyen", "Win, Win and Win"),
        ("Nguyens and McNguyen", "Nguyens and McNguyen"),
        ("Nguyen's book, Nguyen’s", "Win's book, Win’s"),
        ("Nguyen-like (nguyen)", "Win-like (Win)"),
        ("I live in New  York\nCity now", "I live in the Apple now"),
        ("a new york minute", "a Noo Yawk minute"),
        ("new\n\nyork", "new\n\nyork"),
        ("NaCl, nacl, NACL", "salt, nacl, NACL"),
        ("Ask us in the US.", "Ask us in the you ess."),
        ("don't don", "don't dawn"),
        ("naïve, naïve", "nye eve, nye eve"),
    ],
)
def test_entries_match_whole_words_the_longest_first_and_mind_capitals_within(text: str, expected: str) -> None:
    words = lexicon(
        Nguyen="Win",
        New_York="Noo Yawk",
        New_York_City="the Apple",
        NaCl="salt",
        US="you ess",
        don="dawn",
        naïve="nye eve",
    )
    assert spoken(words, clean(text)) == expected


@pytest.mark.parametrize(
    ("phrase", "text", "expected"),
    [
        ("東京", "東京都へ", "XX都へ"),
        ("नमस्ते", "नमस्ते दुनिया", "XX दुनिया"),
        ("नमस", "नमस्ते दुनिया", "नमस्ते दुनिया"),
        ("сосед", "соседи, Сосед", "соседи, XX"),
        (".NET", "on .NET, not internet", "on XX, not internet"),
        ("C++", "C++ and C", "XX and C"),
        ("O'Brien", "O’Brien's, O'Brien", "XX's, XX"),
        ("3M", "13M by 3M", "13M by XX"),
    ],
)
def test_words_are_words_in_every_script(phrase: str, text: str, expected: str) -> None:
    assert spoken(Lexicon([checked(Pronunciation(phrase, "XX"))]), clean(text)) == expected


def test_what_was_written_is_known_for_each_place() -> None:
    found = lexicon(Nguyen="Win").respell("Dr Nguyen and nguyen.")
    assert found is not None
    assert [(found.text[r.start : r.end], r.written) for r in found.replaced] == [("Win", "Nguyen"), ("Win", "nguyen")]
    assert lexicon(Nguyen="Win").respell("Nobody here.") is None


def test_the_narrower_language_wins_and_others_are_left_alone() -> None:
    entries = [
        Pronunciation("bath", "barth", "en-GB"),
        Pronunciation("bath", "bahth", "en"),
        Pronunciation("bath", "b", "*"),
        Pronunciation("gift", "present", "en"),
    ]
    assert spoken(for_language(entries, "en-GB"), "a bath") == "a barth"
    assert spoken(for_language(entries, "en-US"), "a bath") == "a bahth"
    assert spoken(for_language(entries, "de"), "a bath and a gift") == "a b and a gift"


@pytest.mark.parametrize(
    ("phrase", "respelling", "language", "words"),
    [
        ("", "a", "en", "phrase '' has no letter"),
        ("...", "a", "en", "no letter"),
        ("a", " ", "en", "respelling '' has no letter"),
        ("a" * 101, "a", "en", "101 characters; at most 100"),
        ("a", "b" * 201, "en", "at most 200"),
        ("a", "b", "nonsense", "BCP 47"),
    ],
)
def test_an_entry_that_cannot_be_is_refused_with_the_reason(
    phrase: str, respelling: str, language: str, words: str
) -> None:
    with pytest.raises(InvalidInput, match=re.escape(words)):
        checked(Pronunciation(phrase, respelling, language))


def test_a_text_does_not_become_many_times_as_long() -> None:
    with pytest.raises(InvalidInput, match="4 times as long"):
        Lexicon([Pronunciation("a", "b" * 200)]).respell("a " * 1000)


WORD = st.text("abAB", min_size=1, max_size=3)
ENTRIES = st.lists(
    st.builds(Pronunciation, st.lists(WORD, min_size=1, max_size=3).map(" ".join), st.just("#")), max_size=6
)
TEXT = st.text("abAB .,'\n-", max_size=60)


@settings(max_examples=300, deadline=None)
@given(ENTRIES, TEXT)
def test_nothing_is_ever_replaced_within_a_word(entries: list[Pronunciation], text: str) -> None:
    entries = [checked(Pronunciation(e.phrase, "#1")) for e in entries]
    found = Lexicon(entries).respell(text) or Respelled(text, ())
    phrases = {e.phrase for e in entries}
    folded = {phrase.lower() for phrase in phrases if not has_capitals_within(phrase)}
    read = 0  # walk the text as it was written
    for place in found.replaced:
        start = place.start + sum(len(r.written) - 2 for r in found.replaced if r.start < place.start)
        end = start + len(place.written)
        assert text[start:end] == place.written and start >= read
        assert not text[start - 1 : start].isalnum() and not text[end : end + 1].isalnum()
        written = " ".join(place.written.split())
        assert written in phrases or written.lower() in folded
        read = end
    untouched = re.sub("#1", "", found.text)
    assert len(untouched) == len(text) - sum(len(r.written) for r in found.replaced)


@settings(max_examples=200, deadline=None)
@given(ENTRIES, TEXT)
def test_a_replacement_is_never_a_part_of_a_longer_entry_that_matches_there(
    entries: list[Pronunciation], text: str
) -> None:
    entries = [checked(Pronunciation(e.phrase.lower(), "#1")) for e in entries]
    found = Lexicon(entries).respell(text.lower())
    for place in found.replaced if found is not None else ():
        written = " ".join(place.written.split())
        longer = [e.phrase for e in entries if e.phrase.startswith(f"{written} ")]
        rest = found.text[place.end :]
        for phrase in longer:
            tail = phrase[len(written) :].replace(" ", r"[ ]+")
            assert re.match(tail + r"(?![ab'])", rest) is None


MIXED = st.lists(
    st.sampled_from(["a", "A", "b", "aB", "us", "US", " ", "  ", "\n", "\n\n", "-", ".", "東", "京", "é", "ß", "SS"]),
    max_size=14,
).map("".join)
TOKEN = re.compile(r"(?P<word>[^\W東京]+|[東京])|(?P<paragraph>\s*\n\s*\n\s*)|(?P<space>\s+)|(?P<other>.)")


def tokens(text: str, exact: bool) -> list[str]:
    told = {"paragraph": "\n", "space": " "}
    found = [told.get(match.lastgroup or "") or match.group() for match in TOKEN.finditer(text)]
    return found if exact else [unicodedata.normalize("NFC", token.casefold()) for token in found]


def naive(entries: list[Pronunciation], text: str) -> str:
    """Every entry tried at every token: the longest holds, of equally long ones the one that minds the case."""
    exact, folded = tokens(text, exact=True), tokens(text, exact=False)
    pieces = [match.group() for match in TOKEN.finditer(text)]
    rows = []
    for entry in entries:
        minds = has_capitals_within(entry.phrase)
        rows.append((tokens(entry.phrase, minds), minds, entry.respelling))
    rows.sort(key=lambda row: (-len(row[0]), not row[1]))
    said, place = "", 0
    while place < len(pieces):
        matching = ((p, r) for p, minds, r in rows if (exact if minds else folded)[place : place + len(p)] == p)
        path, respelling = next(matching, ([""], pieces[place]))
        said += respelling
        place += len(path)
    return said


@settings(max_examples=400, deadline=None)
@given(st.lists(MIXED, max_size=8), st.lists(MIXED, max_size=6).map("".join))
def test_one_pass_finds_what_trying_every_entry_at_every_place_finds(phrases: list[str], text: str) -> None:
    entries = [checked(Pronunciation(p, f"<{n}>1")) for n, p in enumerate(phrases) if has_speech(p)]
    entries = list({identity(entry): entry for entry in entries}.values())
    text = clean(text)
    assert spoken(Lexicon(entries), text) == naive(entries, text)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("ab ", min_size=1, max_size=4), min_size=1, max_size=6), st.text("ab .", max_size=80))
def test_phrases_in_a_row_are_found_as_a_pattern_of_all_of_them_finds_them(phrases: list[str], text: str) -> None:
    pattern = re.compile("|".join(map(re.escape, sorted(phrases, key=len, reverse=True))))
    assert list(Automaton(phrases).spans(text)) == [match.span() for match in pattern.finditer(text)]


def test_a_text_longer_than_what_is_read_at_once_is_respelled_to_its_end() -> None:
    words = lexicon(a="x1", a_a_b="y1", a_b_c_d_e="z1")
    text = "a a b " * 30_000 + "a b c d e " + "a b c d " * 20_000
    assert spoken(words, text) == "y1 " * 30_000 + "z1 " + "x1 b c d " * 20_000


def deep_entries(token: str, gap: str, end: str) -> list[Pronunciation]:
    return [checked(Pronunciation(gap.join([token] * n + [end]), "x")) for n in range(1, 49)]


@pytest.mark.parametrize(("token", "gap"), [("a", " "), ("a", "-"), ("東", "")])
def test_entries_that_begin_everywhere_and_go_deep_cost_no_walk_from_each_token(token: str, gap: str) -> None:
    text = f"{token}{gap}" * 20_000
    deep, shallow = Lexicon(deep_entries(token, gap, "b")), Lexicon(deep_entries(token, gap, "b")[:1])
    assert cpu_s(lambda: deep.respell(text)) < 3 * cpu_s(lambda: shallow.respell(text))


def test_words_too_long_for_any_entry_are_not_kept() -> None:
    words = Lexicon([checked(Pronunciation("zz", "y"))])
    tracemalloc.start()
    try:
        for n in range(20):
            words.respell(chr(97 + n) * 200_000)
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_dictionary_costs_chunks_the_same_however_many_entries_a_text_uses() -> None:
    prose = "The quick brown fox jumps over the lazy dog and is seen. " * 400

    def written_with(count: int) -> float:
        entries = [checked(Pronunciation(f"w{n}", f"{chr(97 + n % 26)}ord{n}")) for n in range(count)]
        found = Lexicon(entries).respell(" ".join(entry.phrase for entry in entries) + ". " + prose)
        assert found is not None
        plan = make_plan(found.text, "en", RULE)
        return cpu_s(lambda: as_written(plan, found))

    assert written_with(1_000) < 5 * written_with(50), "a pattern of all of them takes as many times as long"


def naive_as_written(plan: Plan, respelled: Respelled) -> Plan:
    """The same by one pattern of all respellings."""
    words = {respelled.text[place.start : place.end] for place in respelled.replaced}
    pattern = re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))))
    written = {(place.start, place.end): place.written for place in respelled.replaced}
    occurrences = [(match.group(), written.pop(match.span(), None)) for match in pattern.finditer(respelled.text)]
    found = [pattern.findall(speak.text) for speak in plan.speaks]
    if written or [each for of_chunk in found for each in of_chunk] != [said for said, _ in occurrences]:
        return plan
    shown = iter([instead or said for said, instead in occurrences])
    texts = [pattern.sub(lambda _: next(shown), speak.text) for speak in plan.speaks]
    told = iter(texts)
    return Plan(
        tuple(
            msgspec.structs.replace(each, written=None if (now := next(told)) == each.text else now)
            if isinstance(each, Speak)
            else each
            for each in plan.segments
        )
    )


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), st.text("ab 12", min_size=1, max_size=5)), max_size=5),
    st.lists(st.sampled_from(["abc ", "ab. ", "a, ", "c\n\n", "bca ", "12 "]), max_size=40).map("".join),
    st.booleans(),
)
def test_chunks_show_what_one_pattern_of_all_respellings_would_show(
    pairs: list[tuple[str, str]], text: str, spelled_out: bool
) -> None:
    entries = [checked(Pronunciation(phrase, said)) for phrase, said in pairs if has_speech(said)]
    found = Lexicon(entries).respell(text)
    if found is None:
        return
    plan = make_plan(found.text, "en", RULE, spelled_out=spelled_out)
    assert as_written(plan, found) == naive_as_written(plan, found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ["a " * 60_000, "a" * 400_000, "'" * 400_000, "a'" * 200_000, "\u0301" * 400_000, "\n" * 400_000, " \n" * 200_000,
     "'s" * 200_000, "a" + " " * 400_000, "a b a b a c " * 30_000, "東" * 400_000],
    ids=["words", "word", "quotes", "quoted", "marks", "newlines", "lines", "possessives", "space", "phrases", "han"],
)  # fmt: skip
def test_no_text_and_no_dictionary_makes_it_hang(text: str) -> None:
    deep = [Pronunciation(" ".join(["a"] * n + [f"b{n}"]), "x") for n in range(1, 40)]
    wide = [Pronunciation(f"a c{n}", "x") for n in range(1_900)]
    assert Lexicon([*deep, *wide]).respell(text) is None


def test_chunks_show_what_was_written() -> None:
    found = lexicon(Nguyen="Win").respell("Nguyen plays to win. Win or lose, says Nguyen. A Win is a win.")
    assert found is not None
    plan = as_written(make_plan(found.text, "en", RULE), found)
    assert " ".join(speak.text for speak in plan.speaks) == found.text
    assert " ".join(speak.shown for speak in plan.speaks) == (
        "Nguyen plays to win. Win or lose, says Nguyen. A Win is a win."
    )


@pytest.mark.parametrize("respelling", ["very long words that no chunk of this length can hold at all", "2"])
def test_chunks_say_what_is_spoken_where_the_place_cannot_be_told(respelling: str) -> None:
    found = lexicon(Nguyen=respelling).respell("Nguyen and 2 more of them are here.")
    assert found is not None
    plan = as_written(make_plan(found.text, "en", RULE, spelled_out=respelling == "2"), found)
    assert all(speak.written is None for speak in plan.speaks)
    assert all(unicodedata.is_normalized("NFC", speak.text) for speak in plan.speaks)
