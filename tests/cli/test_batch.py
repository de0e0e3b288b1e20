"""`voxgate batch`: scripts of every kind into files, again and again, and into one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.command import KEY, VOXGATE, Served, command, environment, serving_command
from support.scripts import lines_of

from gateway.cli.script.manifest import Manifest
from gateway.cli.script.progress import ProgressBar, bar, span

INLINE_BYTES = 20_000
LONG = "This line is so long that its audio is not in the answer itself."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    changes = {"VOXGATE_PLUGINS": "scripted", "VOXGATE_MAX_INLINE_BYTES": str(INLINE_BYTES)}
    with serving_command(VOXGATE, tmp_path_factory.mktemp("batch"), changes) as served:
        yield served


def batch(server: Served, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return command(["batch", *arguments], folder, {"VOXGATE_URL": server.url, "VOXGATE_API_KEY": KEY})


def told_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the messages of the command about single lines."""
    return [line for line in done.stderr.splitlines() if line.startswith("line ")]


def test_a_text_becomes_a_file_for_each_line_and_a_second_run_speaks_only_what_is_new(
    server: Served, tmp_path: Path
) -> None:
    script = tmp_path / "script.txt"
    script.write_text("The first line.\n\nThe third one.\n")
    done = batch(server, tmp_path, "script.txt", "-o", "spoken")
    assert done.returncode == 0, done.stderr
    first, third = tmp_path / "spoken" / "0001.mp3", tmp_path / "spoken" / "0003.mp3"
    assert sorted(path.name for path in first.parent.glob("*.mp3")) == ["0001.mp3", "0003.mp3"]
    assert soundfile.info(first).duration > 0.1
    before = first.stat().st_mtime_ns
    third.write_bytes(b"cut short")
    script.write_text("The first line.\n\nThe third one.\nA fourth.\n")
    done = batch(server, tmp_path, "script.txt", "-o", "spoken")
    assert "1 of 3 lines are already spoken" in done.stderr
    assert first.stat().st_mtime_ns == before
    assert soundfile.info(third).duration > 0.1 and (first.parent / "0004.mp3").exists()
    script.write_text("Another first line, longer than before.\n\nThe third one.\nA fourth.\n")
    assert "2 of 3" in batch(server, tmp_path, "script.txt", "-o", "spoken").stderr
    assert first.stat().st_mtime_ns > before


def test_a_line_that_fails_is_one_line_on_stderr_and_exit_code_1(server: Served, tmp_path: Path) -> None:
    rows = [
        {"text": "Fine."},
        {"text": "A stranger's words.", "name": "far", "voice": "nobody"},
        {"text": "Fine too.", "backend": "absent"},
    ]
    script = tmp_path / "script.jsonl"
    script.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = batch(server, tmp_path, "script.jsonl", "-o", "out", "--join", "all.mp3")
    assert done.returncode == 1
    assert sorted(line.partition(":")[0] for line in told_of(done)) == ["line 2 (far)", "line 3 (0003)"]
    assert "no voice 'nobody'" in next(line for line in told_of(done) if "far" in line)
    assert "2 failed" in done.stderr and "all.mp3 was not written" in done.stderr
    assert not (tmp_path / "all.mp3").exists() and (tmp_path / "out" / "0001.flac").exists()


def test_lines_that_cannot_be_used_are_told_one_by_one_and_the_others_are_spoken(
    server: Served, tmp_path: Path
) -> None:
    script = tmp_path / "script.jsonl"
    good, half, broken = (
        '{"text": "Fine."}',
        r'{"text": "Half \ud83d an emoji.", "chapter": "\ude00"}',
        '{"text": "Cut sh',
    )
    written = [
        good,
        '{"text": ""}',
        '{"text": 5}',
        '{"text": "x", "speed": "a"}',
        broken,
        half,
        '{"text": "x", "speed": 9}',
        '{"text": "Two\u2028lines."}',
    ]
    script.write_text("\n".join(written), encoding="utf-8")
    arguments = ("script.jsonl", "-o", "out", "--join", "all.wav")
    done = batch(server, tmp_path, *arguments)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert told_of(done) == [
        "line 2: text is empty",
        "line 3: text must be a string, got 5",
        'line 4: speed must be a number between 0.5 and 2.0, got "a"',
        "line 5: not JSON: Unterminated string starting at at character 10; a line is an object such as "
        '{"text": "Hello."}',
        "line 7: speed must be between 0.5 and 2.0, got 9",
    ]
    assert "out: 3 lines" in done.stderr and "5 failed" in done.stderr
    assert "all.wav was not written" in done.stderr and not (tmp_path / "all.wav").exists()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.flac")}
    assert sorted(path.stem for path in files) == ["0001", "0006", "0008"]

    # Once they are mended, only they are spoken, and the whole has no hole.
    script.write_text("\n".join(line if line in (good, half, written[-1]) else good for line in written), "utf-8")
    again = batch(server, tmp_path, *arguments)
    assert again.returncode == 0, again.stderr
    assert "3 of 8 lines are already spoken" in again.stderr and not told_of(again)
    assert all(path.stat().st_mtime_ns == before for path, before in files.items())
    frames = [soundfile.info(path).frames for path in sorted((tmp_path / "out").glob("*.flac"))]
    assert len(frames) == 8
    whole = soundfile.info(tmp_path / "all.wav")
    assert whole.frames == sum(frames) + 7 * round(0.4 * whole.samplerate)


def test_a_script_in_which_no_line_can_be_used_needs_no_server(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,speed\nhello,fast\n"",2\n')
    done = command(["batch", "a.csv", "-o", "out", "--url", "http://127.0.0.1:9"], tmp_path)
    assert done.returncode == 1
    assert [line.partition(":")[0] for line in told_of(done)] == ["line 2", "line 3"]
    assert "out: 0 lines" in done.stderr and "2 failed" in done.stderr


def test_audio_too_large_for_the_answer_is_fetched(server: Served, tmp_path: Path) -> None:
    (tmp_path / "script.txt").write_text(f"Short.\n{LONG}\n")
    done = batch(server, tmp_path, "script.txt", "-o", "out", "--format", "wav")
    assert done.returncode == 0, done.stderr
    assert soundfile.info(tmp_path / "out" / "0002.wav").frames * 2 > INLINE_BYTES


def test_audio_that_cannot_be_fetched_fails_its_line_alone(tmp_path: Path) -> None:
    (tmp_path / "script.txt").write_text(f"Short.\n{LONG}\n")
    (tmp_path / "elsewhere").mkdir()
    arguments = ("script.txt", "-o", "out", "--format", "wav")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "elsewhere"))
    elsewhere = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
    place = f"http://127.0.0.1:{elsewhere.server_port}"
    changes = {"VOXGATE_PLUGINS": "scripted", "VOXGATE_MAX_INLINE_BYTES": str(INLINE_BYTES)}
    with serving_command(VOXGATE, tmp_path, {**changes, "VOXGATE_PUBLIC_URL": place}) as server:
        absent = batch(server, tmp_path, *arguments)
        elsewhere.shutdown()
        elsewhere.server_close()
        unreachable = batch(server, tmp_path, *arguments)
    for done, words in ((absent, f"the text was spoken, but {place} answered 404"), (unreachable, "cannot be reached")):
        assert done.returncode == 1, done.stderr
        (told,) = [line for line in done.stderr.splitlines() if line.startswith("line ")]
        assert told.startswith("line 2 (0002): ") and words in told
        assert "1 failed" in done.stderr and "Traceback" not in done.stderr
    assert [path.name for path in (tmp_path / "out").glob("*.wav")] == ["0001.wav"]


def test_a_conversation_becomes_one_file_with_chapters_and_subtitles(server: Served, tmp_path: Path) -> None:
    (tmp_path / "show.csv").write_text(
        "speaker,text,chapter\n"
        "Ann,Welcome to the show. Two sentences here.,Intro\n"
        'Bob,"Thanks, Ann, & <hello>.",\n'
        "Ann,Now the news.,The news; part = 1\n"
    )
    arguments = ("show.csv", "-o", "lines", "--join", "show.mp3", "--gap-ms", "500")
    voices = ("--voice-map", "Ann=default", "--voice-map", "*=high")
    done = batch(server, tmp_path, *arguments, *voices)
    assert done.returncode == 0, done.stderr
    lengths = [soundfile.info(path).frames for path in sorted((tmp_path / "lines").glob("*.flac"))]
    whole, rate = soundfile.read(tmp_path / "show.mp3")
    assert len(whole) == sum(lengths) + 2 * rate // 2
    starts = [0.0, (lengths[0] + rate / 2 + lengths[1] + rate / 2) / rate]
    chapters = json.loads((tmp_path / "show.chapters.json").read_text())["chapters"]
    assert [(c["title"]) for c in chapters] == ["Intro", "The news; part = 1"]
    assert [c["startTime"] for c in chapters] == pytest.approx(starts, abs=0.001)
    assert chapters[-1]["endTime"] == pytest.approx(len(whole) / rate, abs=0.001)
    assert "title=The news\\; part \\= 1" in (tmp_path / "show.ffmetadata").read_text()
    assert 'TITLE "Intro"\n    INDEX 01 00:00:00' in (tmp_path / "show.cue").read_text()
    subtitles = (tmp_path / "show.srt").read_text()
    assert subtitles.startswith("1\n00:00:00,000 --> ") and "Bob: Thanks, Ann, & <hello>." in subtitles
    assert "<v Bob>Thanks, Ann, &amp; &lt;hello&gt;." in (tmp_path / "show.vtt").read_text()

    # The second speaker has the other voice, an octave higher.
    def pitch(file: str) -> float:
        samples, rate = soundfile.read(tmp_path / "lines" / file)
        return float(np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples))

    assert pitch("0003.flac") > 1.5 * pitch("0002.flac")
    again = batch(server, tmp_path, *arguments, *voices)
    assert "3 of 3 lines are already spoken" in again.stderr and again.returncode == 0


def test_ctrl_c_keeps_what_was_spoken(server: Served, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("\n".join(f"Line number {n} of a long script." for n in range(400)))
    changes = {"VOXGATE_URL": server.url, "VOXGATE_API_KEY": KEY}
    process = subprocess.Popen(
        [*VOXGATE, "batch", "long.txt", "-o", "out", "--jobs", "2"],
        cwd=tmp_path, env=environment(tmp_path / "data", changes), stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )  # fmt: skip
    out, end = tmp_path / "out", time.monotonic() + 60
    while len(list(out.glob("*.mp3"))) < 3:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    left = len(list(out.glob("*.mp3")))
    assert 3 <= left < 400
    lines = lines_of(tmp_path / "long.txt")
    assert sum(Manifest(out).finished(line, f"{line.name}.mp3") is not None for line in lines) == left


def test_a_record_that_was_cut_short_counts_as_not_spoken(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    one, two = lines_of(tmp_path / "a.txt")
    kept = Manifest(tmp_path)
    kept.save(one, "0001.mp3", b"audio", 10, ())
    kept.save(two, "0002.mp3", b"audio", 10, ())
    record = tmp_path / ".voxgate-batch.jsonl"
    record.write_bytes(record.read_bytes()[:-9])
    again = Manifest(tmp_path)
    assert again.finished(one, "0001.mp3") is not None
    assert again.finished(two, "0002.mp3") is None


def test_the_bar_tells_how_far_how_fast_and_how_long() -> None:
    progress = ProgressBar(4, 400)
    assert progress.line(0.0) == f"{bar(0, 4)} 0 of 4 lines"
    progress.count(100, 20_000)
    progress.count(100, None)
    assert progress.line(10.0) == (
        "[############------------] 2 of 4 lines, 1 failed, 20 characters/s, 2.0 x real time, 0:10 left"
    )
    assert (span(65), span(3_723), bar(4, 4)) == ("1:05", "1:02:03", f"[{'#' * 24}]")
