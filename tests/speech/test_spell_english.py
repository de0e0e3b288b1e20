"""English figures, signs and abbreviations as words: a table of cases for each kind of rule."""

from __future__ import annotations

import pytest

from gateway.speech.text.spell import spell_out

DECADES = {
    "In the 1900s and the early 2000s.": "In the nineteen hundreds and the early two thousands.",
    "The 830s and 100s of people.": "The eight thirties and hundreds of people.",
    "the 1990s, the '80s and the 20s": "the nineteen nineties, the eighties and the twenties",
}
RANGES = {
    "About 10-20% of users.": "About ten to twenty percent of users.",
    "$10-20 each": "ten to twenty dollars each",
    "in 1990-95": "in nineteen ninety to ninety-five",
    "20~30 minutes": "twenty to thirty minutes",
    "The score was 3-2.": "The score was three to two.",
    "Open 9am-5pm, Mon-Fri.": "Open nine AM to five PM, Monday to Friday.",
}
PREFIXES = {
    "See pp. 12-15 and p. 2024.": "See pages twelve to fifteen and page two thousand twenty-four.",
    "Vol. 2, Fig. 3, No. 7": "Volume two, figure three, number seven",
}
TIMES = {
    "He ran 2:03:45 in Berlin.": "He ran two hours three minutes forty-five seconds in Berlin.",
    "Meet at 17:05 or 5:30pm.": "Meet at seventeen oh five or five thirty PM.",
    "At 9 p.m. The bus left.": "At nine PM. The bus left.",
}
DATES = {
    "It is 2024/10/01 today.": "It is October first, twenty twenty-four today.",
    "Released 2026-11-22T18:30Z.": "Released November twenty-second, twenty twenty-six at eighteen thirty UTC.",
    "FY2024 Q3 results": "fiscal year twenty twenty-four Q three results",
}
MONEY = {
    "₹1,00,000 in cash": "one hundred thousand rupees in cash",
    "The A$5 coin": "The five Australian dollars coin",
    "The ticket costs 5 € now.": "The ticket costs five euros now.",
    "It costs 27,50 € here": "It costs twenty-seven euros and fifty cents here",
    "I paid $1.5M for 3.5% of it.": "I paid one point five million dollars for three point five percent of it.",
    "£3bn deal": "three billion pound deal",
}
MEASURES = {
    "He is 6 ft. tall.": "He is six feet tall.",
    "He is 6 ft. The door is low.": "He is six feet. The door is low.",
    "At 5 and 6 km/h, 20°C, 3kg.": "At five and six kilometers per hour, twenty degrees Celsius, three kilograms.",
    "5'11\" tall": "five foot eleven tall",
}
NUMBERS_TO_DIAL = {
    "Call 1300 555 019 now.": "Call one three zero zero, five five five, zero one nine now.",
    "Dial 0800 123 4567.": "Dial zero eight zero zero, one two three, four five six seven.",
    "+44 20 7946 0958": "plus four four, two zero, seven nine four six, zero nine five eight",
}
VERSIONS = {
    "v2.10.3 is out": "version two point ten point three is out",
    "section 4.2.1": "section four point two point one",
}
MATHS = {
    "3 × 4 = 12": "three times four equals twelve",
    "5 - 3 = 2": "five minus three equals two",
    "10⁻⁶ m": "ten to the minus six m",
    "1.5 × 10⁶": "one point five times ten to the six",
    "5 × 3 is 15": "five times three is fifteen",
    "Add ⅓ cup, ⅛ and ⅜.": "Add one third cup, one eighth and three eighths.",
    ">50% and <10, ≤ 5": "more than fifty percent and less than ten, at most five",
}
ROMAN = {
    "Chapter IV": "Chapter four",
    "King Henry VIII": "King Henry the eighth",
    "World War II and Louis XIV": "World War two and Louis the fourteenth",
    "a mix of I and V": "a mix of I and V",
}
TITLES = {
    "St. James's St. is near": "Saint James's Street is near",
    "the Dr. said no": "the Doctor said no",
    "Mr. & Mrs. Lee": "Mister and Missus Lee",
    "Dr. Smith lives on Elm Dr. in town.": "Doctor Smith lives on Elm Drive in town.",
    "He lives at 12 Main St. The bus left.": "He lives at twelve Main Street. The bus left.",
}
WEB = {
    "Write to jane.doe@example.co.uk.": "Write to jane dot doe at example dot co dot uk.",
    "localhost:8000/v1/audio": "localhost colon eight thousand slash v one slash audio",
}
TABLES = {
    name: table
    for name, table in list(globals().items())
    if isinstance(table, dict) and name.isupper() and not name.startswith("_")
}
CASES = [(kind, written) for kind, table in TABLES.items() for written in table]


@pytest.mark.parametrize(("kind", "written"), CASES)
def test_each_kind_of_figure_is_said(kind: str, written: str) -> None:
    assert spell_out(written, "en-US") == TABLES[kind][written]


@pytest.mark.parametrize(("kind", "written"), CASES)
def test_what_stands_around_a_figure_changes_nothing_in_it(kind: str, written: str) -> None:
    said = spell_out(f"It was so then, they say: {written}", "en-US").removeprefix("It was so then, they say: ")
    assert said.lower() == TABLES[kind][written].lower()


def test_nothing_is_left_of_a_figure_and_nothing_is_lost() -> None:
    text = " ".join(written for _, written in CASES)
    assert not [char for char in spell_out(text, "en-US") if char.isdigit()]
