"""Takes and pauses joined in order, timed in samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from gateway.errors import SynthesisFailed
from gateway.speech.encode import open_encoder
from gateway.speech.encode.render import ChunkTime, MarkTime, Rendered, Renderer
from gateway.speech.text.plan import Mark, Pause, Plan, Speak

RATE = 24000


def take(ms: int, value: int = 1000) -> np.ndarray:
    return np.full(RATE * ms // 1000, value, np.int16)


def render(path: Path, plan: Plan, takes: list[np.ndarray], **more: float) -> tuple[Rendered, np.ndarray]:
    renderer = Renderer(plan, open_encoder("wav", path, RATE), **{"speed": 1.0} | more)
    for pcm in takes:
        renderer.add(pcm)
    rendered = renderer.finish()
    return rendered, sf.read(str(path), dtype="int16")[0]


def test_chunks_pauses_and_marks_are_where_they_say(tmp_path: Path):
    plan = Plan((Speak("One"), Pause(300), Mark("here"), Speak("Two"), Pause(700, exact=True)))
    rendered, pcm = render(tmp_path / "a", plan, [take(1000), take(500, 2000)])
    assert rendered.chunks == (ChunkTime("One", 0, 1000), ChunkTime("Two", 1300, 1800))
    assert rendered.marks == (MarkTime("here", 1300, RATE * 13 // 10),)
    assert rendered.samples == pcm.size == RATE * 25 // 10
    assert np.array_equal(np.unique(pcm[:RATE]), [1000])
    assert not pcm[RATE : RATE * 13 // 10].any()
    assert np.array_equal(np.unique(pcm[RATE * 13 // 10 : RATE * 18 // 10]), [2000])


def test_natural_pauses_scale_with_the_tempo_and_exact_ones_do_not(tmp_path: Path):
    plan = Plan((Speak("One"), Pause(300), Pause(400, exact=True), Speak("Two")))
    assert render(tmp_path / "a", plan, [take(100), take(100)], speed=2.0)[0].chunks[1].start_ms == 650
    assert render(tmp_path / "a", plan, [take(100), take(100)], speed=0.5)[0].chunks[1].start_ms == 1100


def test_one_gain_for_all_and_one_for_a_chunk(tmp_path: Path):
    plan = Plan((Speak("One"), Speak("Two", gain=-20.0)))
    _, pcm = render(tmp_path / "a", plan, [take(10), take(10)], gain=2.0)
    assert np.unique(pcm).tolist() == [200, 2000]
    _, pcm = render(tmp_path / "a", plan, [take(10, 30000), take(10, -30000)], gain=40.0)
    assert (pcm.max(), pcm.min()) == (32767, -32768)


def test_a_long_pause_is_exact(tmp_path: Path):
    rendered, _ = render(tmp_path / "a", Plan((Pause(12_345, exact=True), Speak("One"))), [take(10)])
    assert rendered.chunks[0].start_ms == 12_345


def test_takes_and_chunks_must_match(tmp_path: Path):
    plan = Plan((Speak("One"), Speak("Two")))
    with pytest.raises(ValueError, match="fewer takes"):
        render(tmp_path / "a", plan, [take(10)])
    with pytest.raises(ValueError, match="more takes"):
        render(tmp_path / "a", plan, [take(10)] * 3)
    with pytest.raises(SynthesisFailed):
        render(tmp_path / "a", Plan(()), [])


def test_an_abandoned_utterance_can_be_abandoned_again(tmp_path: Path):
    renderer = Renderer(Plan((Speak("One"),)), open_encoder("mp3", tmp_path / "a", RATE), speed=1.0)
    renderer.add(take(10))
    renderer.abandon()
    renderer.abandon()
