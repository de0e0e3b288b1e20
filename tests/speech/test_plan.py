"""Plans cut text and place silence at the right points, and lose no text."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.interface import ChunkRule, Limit
from gateway.errors import InvalidInput
from gateway.speech.text.chunking import split_text
from gateway.speech.text.cleaning import clean
from gateway.speech.text.graphemes import cut_before
from gateway.speech.text.plan import MAX_CHUNKS, Pause, Plan, Speak, clamp_max_chars, make_plan, split_again
from gateway.speech.text.seeds import chunk_seed, occurrences

SMALL = ChunkRule(40, 40, Limit(280))
MERGING = ChunkRule(40, 240, Limit(300))
RULES = [SMALL, MERGING, ChunkRule(5, 10, Limit(20)), ChunkRule(40, 400, Limit(900, "utf8_bytes")),
         ChunkRule(1, 10, Limit(16, "utf8_bytes"))]  # fmt: skip


def texts(plan: Plan) -> list[str]:
    return [speak.text for speak in plan.speaks]


def letters(text: str) -> str:
    return "".join(char for char in text if char.isalnum())


def test_sentences_become_chunks_with_natural_pauses_between():
    plan = make_plan(
        "Dr. Smith, who was late, paid $3.50 at 5 p.m. Then he left the house without a word.", "en", SMALL
    )
    assert plan.segments == (
        Speak("Dr. Smith, who was late, paid $3.50 at 5 p.m.", kind="sentence"),
        Pause(300),
        Speak("Then he left the house without a word.", kind="paragraph"),
    )


def test_short_sentences_travel_together_up_to_the_target():
    text = "Yes. No. Perhaps. " * 20
    assert all(40 <= len(chunk) <= 60 for chunk in texts(make_plan(text, "en", SMALL)))
    assert all(len(chunk) <= 240 for chunk in texts(make_plan(text, "en", MERGING)))
    assert len(texts(make_plan(text, "en", MERGING))) == 2


def test_paragraphs_never_share_a_chunk():
    plan = make_plan("Yes.\n\nNo.\n \nPerhaps.", "en", MERGING)
    assert plan.segments == (
        Speak("Yes.", kind="paragraph"), Pause(600), Speak("No.", kind="paragraph"), Pause(600),
        Speak("Perhaps.", kind="paragraph"),
    )  # fmt: skip


def test_a_row_of_stars_is_a_longer_pause_and_none_at_the_edges():
    plan = make_plan("***\nOne thing.\n\n* * *\n\nAnother thing.\n---\n", "en", MERGING)
    assert plan.segments == (
        Speak("One thing.", kind="paragraph"),
        Pause(1200),
        Speak("Another thing.", kind="paragraph"),
    )


def test_a_text_without_letters_has_no_chunks():
    assert make_plan("... !!! ***", "en", MERGING) == Plan(())


def test_wrapped_lines_are_one_sentence_and_titles_keep_their_line():
    wrapped = (
        "It was the best of times, it was the worst of times, it was the age of\n"
        "Wisdom and of foolishness, it was the epoch of belief and of the end\n"
        "of all."
    )
    assert texts(make_plan(wrapped, "en", MERGING)) == [wrapped.replace("\n", " ")]
    assert texts(make_plan("Chapter Two\nIt was night.", "en", MERGING)) == ["Chapter Two\nIt was night."]


def test_a_long_sentence_is_split_at_a_clause_before_a_word():
    sentence = "The wind, which had risen in the night, blew over the roofs of the old town; " * 8
    plan = make_plan(sentence.strip("; ") + ".", "en", SMALL)
    kinds = [speak.kind for speak in plan.speaks]
    assert kinds == ["clause"] * (len(kinds) - 1) + ["paragraph"]
    assert all(segment.ms == 150 for segment in plan.segments if isinstance(segment, Pause))
    assert all(100 < len(chunk) <= 280 for chunk in texts(plan))


def test_without_punctuation_words_stay_whole():
    plan = make_plan("word " * 1000, "en", SMALL)
    assert set(" ".join(texts(plan)).split()) == {"word"}
    assert {segment.ms for segment in plan.segments if isinstance(segment, Pause)} == {20}


def test_thousands_and_clock_times_are_not_torn():
    plan = make_plan("It was 10:30 and 1,000,000 people came to see 3,500 lamps " * 20, "en", SMALL)
    assert {word for chunk in texts(plan) for word in chunk.split()} >= {"10:30", "1,000,000", "3,500"}
    assert all(not word.endswith((":", ",")) for chunk in texts(plan) for word in chunk.split())


@pytest.mark.parametrize("cluster", ["👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "x\u0331\u0301", "क्षि", "กำ", "\u1112\u1161\u11ab"])
def test_grapheme_clusters_stay_whole_where_there_is_no_space(cluster: str):
    for before in range(20):
        pieces = [piece for piece, _ in split_text("a" * before + cluster * 200 + "b", RULES[2])]
        assert "".join(pieces) == "a" * before + cluster * 200 + "b"
        assert sum(piece.count(cluster) for piece in pieces) == 200


def test_chinese_is_cut_without_spaces_being_added():
    assert texts(make_plan("你好。再见！今天天气很好。", "zh", MERGING)) == ["你好。再见！今天天气很好。"]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(max_size=30),
            st.sampled_from(
                ["Hello there. ", "Dr. Who? ", "a" * 60, "\n\n", "\n", ", ", "; ", "你好。", "🇩🇪", "1,000", " ", "—"]
            ),
        ),
        max_size=60,
    ).map("".join),
    st.sampled_from(RULES),
)
def test_every_letter_is_spoken_once_in_order_and_no_limit_is_broken(text: str, rule: ChunkRule):
    plan = make_plan(text, "en", rule)
    assert letters("".join(texts(plan))) == letters(clean(text))
    for chunk in texts(plan):
        assert letters(chunk)
        assert chunk == chunk.strip()
        assert (len(chunk) if rule.max.unit == "chars" else len(chunk.encode())) <= rule.max.n
    kinds = [type(segment) for segment in plan.segments]
    assert kinds == ([Speak, Pause] * len(plan.speaks))[: max(0, 2 * len(plan.speaks) - 1)]
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


HOSTILE = {
    "prose": "The quick brown fox jumps over the lazy dog. And then?\n\n" * 18_000,
    "no spaces": "a" * 1_000_000,
    "words": "word " * 200_000,
    "marks": "!? " * 330_000,
    "chinese": "你好世界。" * 200_000,
    "chinese without marks": "你好" * 500_000,
    "lines": "a\n" * 500_000,
    "brackets": "[" * 1_000_000,
    "overrides": "[a](/b/" * 140_000,
    "quotes": '"Hello. ' * 120_000,
    "flags": "🇩🇪" * 300_000,
    "marks on a letter": "a" + "\u0301\u0323" * 400_000,
    "joiners": "x" + "\u200d" * 900_000,
    "abbreviations": "Mr. " * 250_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_megabyte_of_anything_is_planned(name: str):
    # Anything quadratic would take minutes here.
    plan = make_plan(HOSTILE[name], "en", SMALL)
    assert all(len(chunk) <= 280 for chunk in texts(plan))


def test_the_setting_lowers_the_maximum_and_says_when_it_cannot_raise_it():
    assert clamp_max_chars(SMALL, None) == (SMALL, None)
    lowered, warning = clamp_max_chars(SMALL, 30)
    assert (lowered, warning) == (ChunkRule(30, 30, Limit(30)), None)
    assert max(map(len, texts(make_plan("word " * 100, "en", SMALL, max_chars=100)))) <= 100
    rule, warning = clamp_max_chars(SMALL, 500)
    assert rule == SMALL
    assert warning is not None and "500" in warning and "280" in warning
    _, warning = clamp_max_chars(SMALL, 1)
    assert warning is not None and "20" in warning


def test_a_chunk_called_too_long_is_split_into_halves_or_less():
    pieces = split_again("Well, this is a sentence that is too long, they say; but who would know?", "en", SMALL)
    assert len(pieces) >= 2
    assert all(len(piece) <= 37 for piece in pieces)
    assert split_again("a", "en", SMALL) == ["a"]
    assert split_again("ab", "en", SMALL) == ["a", "b"]


def test_plain_letters_can_be_cut_anywhere():
    assert all(cut_before("Zürich", at, 0) == at for at in range(1, 6))


@pytest.mark.parametrize(
    "cluster",
    [
        "e\u0301",
        "\r\n",
        "क्ष",
        "น้ำ",
        "\u1100\u1161\u11a8",
        "각",
        "🇩🇪",
        "👍🏽",
        "👨\u200d👩\u200d👧",
        "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    ],
)
def test_a_cut_keeps_what_a_reader_sees_as_one_character_whole(cluster: str):
    text = f"a{cluster}{cluster}"
    for at in range(1, len(text)):
        whole = 1 + (at - 1) // len(cluster) * len(cluster)
        assert cut_before(text, at, 0) == whole
    assert cut_before(text, len(text) - 1, len(text) - len(cluster)) == len(text) - 1  # it has to be cut somewhere


def test_a_seed_depends_on_what_is_said_and_on_nothing_else():
    assert chunk_seed(1, "Hello", 0, 0) == chunk_seed(1, "Hello", 0)
    keys = [(1, "Hello", 0, 0), (2, "Hello", 0, 0), (1, "Hullo", 0, 0), (1, "Hello", 1, 0), (1, "Hello", 0, 1)]
    seeds = {chunk_seed(*key) for key in keys}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert chunk_seed(0, "Hello", 0, 0) == 7492618236876653884
    assert occurrences(["a", "b", "a", "a"]) == [0, 0, 1, 2]


def test_a_text_of_more_chunks_than_can_be_held_is_refused_with_what_to_do() -> None:
    assert len(make_plan("a\n\n" * MAX_CHUNKS, "en", SMALL).speaks) == MAX_CHUNKS
    with pytest.raises(InvalidInput, match=f"more than {MAX_CHUNKS} chunks.*several requests"):
        make_plan("a\n\n" * (MAX_CHUNKS + 1), "en", SMALL)
