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

from gateway.cli.script.joined import join
from gateway.cli.script.lines import COLUMNS, ScriptLine, read_script
from gateway.cli.script.manifest import Manifest, SpokenLine
from gateway.cli.script.progress import ProgressBar, bar, span
from gateway.errors import BadRequest, InvalidInput

INLINE_BYTES = 20_000
LONG = "This line is so long that its audio is not in the answer itself."


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    changes = {"VOXGATE_PLUGINS": "scripted", "VOXGATE_MAX_INLINE_BYTES": str(INLINE_BYTES)}
    with serving_command(VOXGATE, tmp_path_factory.mktemp("batch"), changes) as served:
        yield served


def batch(server: Served, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return command(["batch", *arguments], folder, {"VOXGATE_URL": server.url, "VOXGATE_API_KEY": KEY})


def lines_of(path: Path) -> tuple[ScriptLine, ...]:
    script = read_script(path, {"format": "mp3"}, {})
    assert not script.unusable
    return script.lines


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


@pytest.mark.parametrize(
    ("name", "script", "words"),
    [
        ("a.csv", "txet\nhello\n", "line 1: unknown column 'txet'; did you mean text?"),
        ("a.csv", "name\nhello\n", "names no column text"),
        (
            "a.csv",
            "text,speaker\na,Ann\nb,Bob\nc,Cy\n",
            "no voice for 'Bob' (line 3), 'Cy' (line 4); add --voice-map Bob=VOICE",
        ),
        ("a.txt", "\n\n", "holds no text to speak"),
        ("a.docx", "a", "a script must be .csv, .jsonl or .txt"),
    ],
)
def test_a_script_that_is_wrong_as_a_whole_is_refused_before_anything_is_spoken(
    tmp_path: Path, name: str, script: str, words: str
) -> None:
    (tmp_path / name).write_text(script)
    with pytest.raises(BadRequest) as raised:
        read_script(tmp_path / name, {}, {"Ann": "default"})
    assert words in str(raised.value)
    done = command(["batch", name, "-o", "out", "--voice-map", "Ann=default"], tmp_path)
    assert done.returncode == 2 and words in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shared", [{"speed": 9.0}, {"speed": float("nan")}, {"seed": -1}, {"language": "\udcff"}])
def test_what_no_line_can_have_is_refused_once(tmp_path: Path, shared: dict[str, object]) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    with pytest.raises(InvalidInput, match=next(iter(shared))):
        read_script(tmp_path / "a.txt", shared, {})


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("a.csv", "hello, you,,", "more cells than the head has; quote a text with commas"),
        ("a.csv", "hello,fast", 'speed must be a number between 0.5 and 2.0, got "fast"'),
        ("a.csv", "hello,nan", "speed must be between 0.5 and 2.0, got NaN"),
        ("a.csv", "hello,,../up", "name '../up' cannot be a file name; use letters"),
        ("a.csv", f"hello,,{'ō' * 120}", "at most 200 bytes"),
        ("a.csv", "hello,,FIRST", "name 'FIRST' is already used by line 2; give this line another name"),
        ("a.csv", ",1.5", "text is missing"),
        ("a.jsonl", '["a"]', "not an object; a line is an object such as"),
        ("a.jsonl", "[" * 100_000, "not JSON: "),
        ("a.jsonl", '{"text": "a"} b', "not JSON: Extra data at character 15"),
        ("a.jsonl", '{"txet": "a"}', "unknown column 'txet'; did you mean text?"),
        ("a.jsonl", r'{"text": "\ud83d"}', "text is empty"),
        ("a.jsonl", '{"text": ' + "[" * 900 + "]" * 900 + "}", "'text' is a list; it must be a string or a number"),
        ("a.jsonl", '{"text": null}', "text is missing"),
        ("a.jsonl", '{"text": "a", "speaker": true}', "speaker must be a string, got True"),
        ("a.jsonl", '{"text": "a", "speed": 1e999}', "speed must be between 0.5 and 2.0, got Infinity"),
        ("a.jsonl", '{"text": "a", "seed": 1.5}', "seed must be a whole number between 0 and"),
        ("a.jsonl", '{"text": "a", "seed": ' + "9" * 5_000 + "}", "not JSON: "),
        ("a.jsonl", '{"text": "a", "language": 5}', "language must be a BCP 47 tag such as 'en'"),
    ],
    ids=range(19),
)
def test_a_wrong_line_says_what_is_wrong_and_leaves_the_others(
    tmp_path: Path, name: str, line: str, words: str
) -> None:
    around = (
        ("text,speed,name\nbefore,,first\n", "after")
        if name == "a.csv"
        else ('\n{"text": "before"}\n', '{"text": "after"}')
    )
    (tmp_path / name).write_text(f"{around[0]}{line}\n{around[1]}\n", encoding="utf-8")
    script = read_script(tmp_path / name, {}, {})
    assert [(one.number, one.text) for one in script.lines] == [(2, "before"), (4, "after")]
    ((number, why),) = [(one.number, one.why) for one in script.unusable]
    assert number == 3 and words in why and len(why) < 250


def test_a_line_that_is_wrong_keeps_its_name_until_it_is_mended(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "", "name": "x"}\n{"text": "Hello.", "name": "x"}\n')
    script = read_script(tmp_path / "a.jsonl", {}, {})
    assert not script.lines and [one.number for one in script.unusable] == [1, 2]


def test_a_cell_may_hold_a_whole_book(tmp_path: Path) -> None:
    book = "Once upon a time, " * 20_000
    (tmp_path / "a.csv").write_text(f'text,name\n"{book}",book\n')
    (line,) = lines_of(tmp_path / "a.csv")
    assert line.text == book.strip()


def test_every_column_is_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "batch.md").read_text(encoding="utf-8")
    rows = "".join(line for line in page.splitlines() if line.startswith("| `"))
    assert all(f"`{column}`" in rows for column in COLUMNS)


def test_a_script_that_is_not_utf8_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Grüße".encode("latin-1"))
    with pytest.raises(BadRequest, match="is not UTF-8"):
        read_script(tmp_path / "a.txt", {}, {})


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


def test_the_bar_tells_how_far_how_fast_and_how_long() -> None:
    progress = ProgressBar(4, 400)
    assert progress.line(0.0) == f"{bar(0, 4)} 0 of 4 lines"
    progress.count(100, 20_000)
    progress.count(100, None)
    assert progress.line(10.0) == (
        "[############------------] 2 of 4 lines, 1 failed, 20 characters/s, 2.0 x real time, 0:10 left"
    )
    assert (span(65), span(3_723), bar(4, 4)) == ("1:05", "1:02:03", f"[{'#' * 24}]")
