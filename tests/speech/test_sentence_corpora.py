"""The corpora of sentences with their gold breaks, `tests/corpora/sentences`, are as large as they have to be."""

from __future__ import annotations

from pathlib import Path

import pytest

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
