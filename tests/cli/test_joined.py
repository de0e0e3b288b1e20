"""The lines of a script become one file with chapters and titles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.scripts import lines_of

from gateway.cli.script.joined import join
from gateway.cli.script.lines import ScriptLine
from gateway.cli.script.manifest import Manifest, SpokenLine
from gateway.errors import BadRequest


def test_lines_of_different_rates_are_not_joined(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    lines = lines_of(tmp_path / "a.txt")
    kept = Manifest(tmp_path)
    spoken = []
    for line, rate in zip(lines, (24_000, 16_000), strict=True):
        soundfile.write(tmp_path / "x.wav", np.zeros(100, np.int16), rate)
        spoken.append((line, kept.save(line, f"{line.name}.wav", (tmp_path / "x.wav").read_bytes(), 4, ())))
    with pytest.raises(BadRequest, match="16000, 24000 Hz"):
        join(tmp_path, spoken, tmp_path / "all.wav", "wav", 0)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\v", "\x85", "\u2028", "\0", "\x1b"])
def test_a_title_is_one_line_in_every_file_whatever_ends_lines_in_it(tmp_path: Path, end: str) -> None:
    attack = f'One"{end}    INDEX 01 09:00:00{end}  TRACK 09 AUDIO'
    spoken = []
    for number, (speaker, chapter) in enumerate((("Ann", attack), ("", "Two")), 1):
        line = ScriptLine(number, f"{number:04}", speaker, chapter, {"text": "Words."})
        spoken.append((line, SpokenLine(f"{number:04}.wav", "", 1, 1000)))
        soundfile.write(tmp_path / f"{number:04}.wav", np.zeros(24_000, np.int16), 24_000)
    joined = join(tmp_path, spoken, tmp_path / "show.wav", "wav", gap_ms=0)
    assert [chapter.title for chapter in joined.chapters] == ['One" INDEX 01 09:00:00 TRACK 09 AUDIO', "Two"]
    sheet = (tmp_path / "show.cue").read_bytes().decode()
    assert sheet.splitlines() == [
        'FILE "show.wav" WAVE',
        "  TRACK 01 AUDIO",
        '    TITLE "One\' INDEX 01 09:00:00 TRACK 09 AUDIO"',
        "    INDEX 01 00:00:00",
        "  TRACK 02 AUDIO",
        '    TITLE "Two"',
        "    INDEX 01 00:01:00",
    ]


def test_the_title_of_a_line_without_a_chapter_is_its_beginning_in_any_script(tmp_path: Path) -> None:
    texts = ["A line\nwith a " + "word " * 30, "吾輩は猫である。" * 20]
    spoken = []
    for number, text in enumerate(texts, 1):
        spoken.append(
            (ScriptLine(number, f"{number:04}", "", "", {"text": text}), SpokenLine(f"{number:04}.wav", "", 1, 1000))
        )
        soundfile.write(tmp_path / f"{number:04}.wav", np.zeros(24_000, np.int16), 24_000)
    titles = [chapter.title for chapter in join(tmp_path, spoken, tmp_path / "show.wav", "wav", gap_ms=0).chapters]
    assert titles[0].startswith("A line with a word ") and all(50 < len(title) <= 61 for title in titles)


@pytest.mark.parametrize("count", [1, 300])
def test_a_joined_mp3_has_its_chapters_in_itself_and_decodes_to_every_sample(tmp_path: Path, count: int) -> None:
    av = pytest.importorskip("av")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": f"Nº {n} “ō”"}) + "\n" for n in range(count)))
    kept, spoken = Manifest(tmp_path), []
    pieces = []
    for n, line in enumerate(lines_of(tmp_path / "a.jsonl")):
        t = np.arange(2_400 + 7 * n)
        pieces.append((8_000 * np.sin(t * (0.05 + 0.001 * n))).astype(np.int16))
        soundfile.write(tmp_path / "x.wav", pieces[-1], 24_000)
        spoken.append((line, kept.save(line, f"{line.name}.wav", (tmp_path / "x.wav").read_bytes(), 100, ())))
    joined = join(tmp_path, spoken, tmp_path / "all.mp3", "mp3", 0)
    whole = np.concatenate(pieces).astype(float)
    heard, _ = soundfile.read(tmp_path / "all.mp3", dtype="int16")
    with av.open(str(tmp_path / "all.mp3")) as container:
        found = [(one["start"] * one["time_base"] * 1000, one["metadata"]["title"]) for one in container.chapters()]
        played = np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)])
    assert found == [(chapter.start_ms, chapter.title) for chapter in joined.chapters]
    assert len(found) == count and found[-1][1] == f"Nº {count - 1} “ō”"
    for samples in (heard, played):
        assert len(samples) == len(whole)
        assert np.corrcoef(samples, whole)[0, 1] > 0.98, "nothing is shifted"
    assert not list(tmp_path.glob(".all.mp3.*"))
