"""Text as it is read aloud."""

from __future__ import annotations

import pytest

from backends.interface import ChunkRule, Limit
from gateway.speech.text.plan import make_plan, planner_version
from gateway.speech.text.spell import can_spell_out, spell_out

ENGLISH = {
    "Dr. Smith paid $3.50 on 11/22/2026 at 5:30pm.": (
        "Doctor Smith paid three dollars and fifty cents on November twenty-second, twenty twenty-six "
        "at five thirty PM."
    ),
    # Numbers.
    "1,234,567 people": "one million two hundred thirty-four thousand five hundred sixty-seven people",
    "-5 and 3.14 and 0": "minus five and three point one four and zero",
    "agent 007, box 123456789012": (
        "agent zero zero seven, box one two three four five six seven eight nine zero one two"
    ),
    "the 21st, the 2nd and the 1,000th": "the twenty-first, the second and the one thousandth",
    "25% of it, up 3.5 %": "twenty-five percent of it, up three point five percent",
    "1/2 cup, 2 1/2 cups, ¾": "one half cup, two and a half cups, three quarters",
    "B12, 4K, version 2.0.1": "B twelve, four K, version two point zero point one",
    "pages 10-20, #7, ~50, 3x4, No. 5": "pages ten to twenty, number seven, about fifty, three by four, number five",
    # Years and dates.
    "In 1999, 1905, 2005 and 2026.": (
        "In nineteen ninety-nine, nineteen oh-five, two thousand five and twenty twenty-six."
    ),
    "the 1990s and '80s": "the nineteen nineties and eighties",
    "from 2019-2021": "from twenty nineteen to twenty twenty-one",
    "2026-11-22": "November twenty-second, twenty twenty-six",
    "Nov. 22, 2026": "November twenty-second, twenty twenty-six",
    "22 November 2026": "the twenty-second of November twenty twenty-six",
    "on the 3rd of March": "on the third of March",
    "May 2026": "May twenty twenty-six",
    "45/99/2026 is no date": "forty-five/ninety-nine/two thousand twenty-six is no date",
    # Times.
    "at 10:00, 9:05 a.m. and 17:45": "at ten o'clock, nine oh five AM and seventeen forty-five",
    "Come at 5 p.m. We eat at six.": "Come at five PM. We eat at six.",
    # Money.
    "$1, $1.01, $0.99 and -$5": "one dollar, one dollar and one cent, ninety-nine cents and minus five dollars",
    "$1.2 million, £5bn, 20 EUR": "one point two million dollars, five billion pounds, twenty euros",
    "£3.50 and 1 €": "three pounds and fifty pence and one euro",
    # Abbreviations and streets.
    "He lives at 10 Main St. in St. Louis with Mrs. Jones.": (
        "He lives at ten Main Street in Saint Louis with Missus Jones."
    ),
    "Bread, etc. He ate, e.g. cheese.": "Bread, et cetera. He ate, for example cheese.",
    "R&D vs. sales": "R and D versus sales",
    # Measures.
    "1 km, 60 mph, 16 GB, 98.6°F": (
        "one kilometer, sixty miles per hour, sixteen gigabytes, ninety-eight point six degrees Fahrenheit"
    ),
    # The net and the telephone.
    "info@example.com or https://www.example.com/help.": (
        "info at example dot com or w w w dot example dot com slash help."
    ),
    "Call 555-0134.": "Call five five five, zero one three four.",
    # What needs no words keeps its own.
    "Nothing here to say otherwise, is there? No.": "Nothing here to say otherwise, is there? No.",
}


@pytest.mark.parametrize("written", ENGLISH)
def test_english_is_read_as_people_read_it(written: str):
    assert spell_out(written, "en-US") == ENGLISH[written]
    assert spell_out(written, "en") == ENGLISH[written]


def test_days_come_first_where_they_do():
    assert "the eleventh of December twenty twenty-six" in spell_out("on 11/12/2026", "en-GB")
    assert "November twelfth, twenty twenty-six" in spell_out("on 11/12/2026", "en-US")


@pytest.mark.parametrize(
    ("language", "written", "read"),
    [
        ("de", "Am 3. Mai um 11:30 Uhr", "Am dritten Mai um elf Uhr dreißig"),
        ("de", "1.234 Menschen", "eintausendzweihundertvierunddreißig Menschen"),
        ("de", "25 % mehr, 3,5 Grad", "fünfundzwanzig Prozent mehr, drei Komma fünf Grad"),
        ("de", "um 14.30 Uhr und um 9:05 Uhr", "um vierzehn Uhr dreißig und um neun Uhr fünf"),
        ("de", "Die 1990er Jahre, am 1. Mai 1999", "Die neunzehnhundertneunziger Jahre, am ersten Mai "
         "neunzehnhundertneunundneunzig"),
        ("de", "am 03.05.2024", "am dritten fünften zweitausendvierundzwanzig"),
        ("de", "3,50 € oder €1", "drei Euro fünfzig oder ein Euro"),
        ("fr", "80 % de 71", "quatre-vingts pour cent de soixante-et-onze"),
        ("es", "3,5 litros", "tres coma cinco litros"),
        ("pl", "5 kotów", "pięć kotów"),
        ("tr", "%25", "yüzde yirmi beş"),
        ("ja", "2026年11月22日", "二千二十六年十一月二十二日"),
        ("zh", "2026年有50%", "二〇二六年有百分之五十"),
        ("hi", "3.5", "तीन दशमलव पाँच"),
        ("ar", "٢٥", "خمسة وعشرون"),
    ],
)  # fmt: skip
def test_other_languages_have_their_numbers_read(language: str, written: str, read: str):
    assert spell_out(written, language) == read


def test_every_language_of_a_multilingual_voice_has_words_for_its_numbers():
    spoken = "ar da de el en es fi fr he hi it ja ko ms nl no pl pt ru sv sw tr zh".split()
    for language in spoken:
        assert can_spell_out(language)
        said = spell_out("17; 3", language)
        assert not any(char.isdigit() for char in said), (language, said)
    assert not can_spell_out("xh")
    assert spell_out("17", "xh") == "17"


@pytest.mark.parametrize(
    "hostile",
    ["1" * 200_000, "1," * 50_000, "Dr. " * 30_000, "a@b." * 30_000, "11/22/" * 20_000, "$1.5 m " * 20_000,
     "-" * 90_000, "\n" * 90_000, "12 Ab Cd " * 20_000, "1:1:" * 30_000, "½" * 50_000, "http://" * 20_000],
)  # fmt: skip
def test_hostile_text_is_read_in_linear_time_and_grows_by_a_bounded_factor(hostile: str):
    said = spell_out(hostile, "en")
    assert len(said) <= 25 * len(hostile)
    assert said.count("\n") == hostile.count("\n")


def test_a_plan_of_spelled_out_text_keeps_to_the_chunk_rule_and_names_the_words():
    text = "In 1999, 25% of 1,234,567 people paid $1,234.56. " * 12
    rule = ChunkRule(40, 240, Limit(300))
    chunks = [speak.text for speak in make_plan(text, "en", rule, spelled_out=True).speaks]
    assert all(len(chunk) <= 300 for chunk in chunks)
    assert not any(char.isdigit() for chunk in chunks for char in chunk)
    assert any("nineteen ninety-nine" in chunk for chunk in chunks)
    assert any("1999" in speak.text for speak in make_plan(text, "en", rule).speaks)
    assert planner_version(True) != planner_version(False)
