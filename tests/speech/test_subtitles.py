from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.subtitles import read_srt, read_vtt

from gateway.speech.subtitles import LINE, LINES, Cue, split, srt, vtt, width

LONG = (
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, "
    "it was the epoch of belief, it was the epoch of incredulity, it was the season of Light."
)


def test_a_short_chunk_is_one_cue_as_it_is() -> None:
    assert split([Cue(0, 900, "Good evening.")]) == (Cue(0, 900, "Good evening."),)


def test_a_long_chunk_becomes_cues_of_two_lines_that_share_its_time_by_length() -> None:
    cues = split([Cue(1000, 11_000, LONG)])
    assert len(cues) == 3
    assert (cues[0].start_ms, cues[-1].end_ms) == (1000, 11_000)
    assert " ".join(cue.text for cue in cues).replace("\n", " ") == LONG
    for cue, after in itertools.pairwise(cues):
        assert cue.end_ms == after.start_ms
    shares = [(cue.end_ms - cue.start_ms) / len(cue.text) for cue in cues]
    assert max(shares) < 1.05 * min(shares)


def test_the_two_lines_of_a_cue_are_about_as_long() -> None:
    (cue,) = split([Cue(0, 1000, "A sentence that is a little longer than a line may be.")])
    first, second = cue.text.split("\n")
    assert abs(len(first) - len(second)) <= 6


def test_a_language_without_spaces_is_cut_between_its_characters_and_gets_none() -> None:
    text = "吾輩は猫である。名前はまだ無い。" * 6
    cues = split([Cue(0, 20_000, text)])
    assert "".join(cue.text for cue in cues).replace("\n", "") == text
    assert all(width(line) <= LINE for cue in cues for line in cue.text.split("\n"))


def test_srt_and_vtt_are_what_their_formats_say() -> None:
    cues = [Cue(0, 1500, "1 < 2 & 3 > 2 --> so"), Cue(3_600_000, 3_661_007, "An hour later.", "Ann <b>")]
    assert srt(cues) == (
        "1\n00:00:00,000 --> 00:00:01,500\n1 < 2 & 3 > 2 → so\n\n"
        "2\n01:00:00,000 --> 01:01:01,007\nAnn <b>: An hour later.\n"
    )
    assert vtt(cues) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\n1 &lt; 2 &amp; 3 &gt; 2 --&gt; so\n\n"
        "01:00:00.000 --> 01:01:01.007\n<v Ann &lt;b&gt;>An hour later.\n"
    )
    assert (srt([]), vtt([])) == ("", "WEBVTT\n")


@pytest.mark.parametrize("ms", [0, 1, 3])
def test_a_chunk_too_short_for_its_words_still_gives_cues_one_can_see(ms: int) -> None:
    cues = split([Cue(10, 10 + ms, LONG), Cue(10 + ms, 500, "And then.")])
    assert all(cue.start_ms < cue.end_ms for cue in cues)
    assert all(cue.end_ms <= after.start_ms for cue, after in itertools.pairwise(cues))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 400),
            st.integers(0, 30_000),
            st.text(max_size=300).filter(lambda text: any(map(str.isalnum, text))),
        ),
        max_size=6,
    )
)
def test_whatever_was_spoken_every_player_can_read_it(chunks: list[tuple[int, int, str]]) -> None:
    at = 0
    cues = []
    for pause, length, text in chunks:
        cues.append(Cue(at + pause, at + pause + length, text))
        at += pause + length
    read = read_vtt(vtt(cues))
    assert len(read) == len(read_srt(srt(cues)))
    assert [" ".join(c.lines).replace(" ", "") for c in read] == [
        cue.text.replace("\n", " ").replace(" ", "") for cue in split(cues)
    ]
    for cue in split(cues):
        assert len(cue.text.split("\n")) <= LINES
        assert all(width(line) <= LINE for line in cue.text.split("\n"))
    assert split(split(cues)) == split(cues)
