"""The corpora of sentences with their gold breaks, `tests/corpora/sentences`, are as large as they have to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.speech.text.segmenter import sentences

FOLDER = Path(__file__).parents[1] / "corpora" / "sentences"
LEAST = {"en": 300, "de": 60, "fr": 60, "es": 60}


@pytest.mark.parametrize("language", LEAST)
def test_each_line_is_an_item_whose_breaks_stand_between_sentences(language: str) -> None:
    lines = (FOLDER / f"{language}.txt").read_text(encoding="utf-8").splitlines()
    items = [line for line in lines if not line.startswith("#")]
    assert len(items) == len(set(items)) >= LEAST[language]
    for item in items:
        sentences = item.split(" ‖ ")
        assert all(sentence == sentence.strip() and sentence for sentence in sentences), item
        assert all(sentence[-1] in '.!?…"“”’»«)' for sentence in sentences), item


def breaks(sentences: list[str]) -> set[int]:
    """Return where sentences end in their joined text."""
    ends, at = set(), 0
    for sentence in sentences[:-1]:
        at += len(sentence) + 1
        ends.add(at)
    return ends


@pytest.mark.parametrize("language", LEAST)
def test_sentences_end_where_people_end_them(language: str) -> None:
    lines = (FOLDER / f"{language}.txt").read_text(encoding="utf-8").splitlines()
    found = right = gold = 0
    for line in lines:
        if line.startswith("#"):
            continue
        wanted = breaks(line.split(" ‖ "))
        got = breaks(list(sentences(line.replace(" ‖ ", " "), language)))
        found, right, gold = found + len(got), right + len(got & wanted), gold + len(wanted)
    assert right / found >= 0.98 and right / gold >= 0.98, (right, found, gold)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "He was ill. ‖ Mary left."),
        ("en", "The cat sat. ‖ Tom ran."),
        ("en", "I think so. ‖ Peter agreed."),
        ("en", "They had to wash. ‖ Bill sang."),
        ("en", "It is 5 in. long. ‖ Put it in. ‖ Fred did."),
        ("de", "Das ist eine andere Art. ‖ Peter kam."),
        ("de", "Er blättert die Seite. ‖ Peter liest."),
        ("fr", "Il en a sept. ‖ Marie part."),
        ("es", "Nada en el mar. ‖ Pedro mira."),
    ],
)
def test_a_word_that_is_also_an_abbreviation_ends_its_sentence(language: str, text: str) -> None:
    assert " ‖ ".join(sentences(text.replace(" ‖ ", " "), language)) == text
