"""`voxgate batch`: speaks a script into a folder of files and, with --join, into one file."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, get_args

import click
import msgspec

from gateway.cli.choose_server import choose_server
from gateway.cli.output import one_line
from gateway.cli.prepared import settings_for
from gateway.cli.script.client import speak
from gateway.cli.script.joined import join
from gateway.cli.script.lines import ScriptLine, read_script
from gateway.cli.script.manifest import Manifest, SpokenLine
from gateway.cli.script.progress import ProgressBar, span
from gateway.errors import BadRequest, SynthesisFailed, Unavailable
from gateway.speech.encode.render import ChunkTime
from gateway.speech.request import AudioFormat

_FORMATS: tuple[AudioFormat, ...] = get_args(AudioFormat)
_ENDINGS: dict[str, AudioFormat] = {".mp3": "mp3", ".wav": "wav", ".flac": "flac", ".opus": "opus", ".ogg": "opus"}
_WAIT_MS = 2_000
"""The wait between two polls of a job: each poll checks for Ctrl-C."""

FAILED = 1


class _Stopped(Exception):
    """Raised in a line's thread when the batch is interrupted."""


@click.command()
@click.argument("script", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(file_okay=False, path_type=Path),
              help="The folder; created if missing.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(_FORMATS), help="Format of the files; mp3, or flac with --join.")
@click.option("--voice", help="Voice of lines that name none.")
@click.option("--language", help="Language of lines that name none, a BCP 47 tag.")
@click.option("--speed", type=float, help="Speed of lines that name none, 0.5 to 2.0.")
@click.option("--seed", type=int, help="Seed of lines that name none.")
@click.option("--backend", help="Backend of lines that name none.")
@click.option("--voice-map", "voice_map", multiple=True, metavar="SPEAKER=VOICE",
              help="The voice of a speaker; may be repeated. `*=VOICE` is for all others.")  # fmt: skip
@click.option("--join", "target", type=click.Path(dir_okay=False, path_type=Path),
              help="Also one file of all lines, with chapters and subtitles beside it.")  # fmt: skip
@click.option("--gap-ms", type=click.IntRange(0, 60_000), default=400, show_default=True,
              help="Silence between two lines of the joined file.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="Lines spoken at the same time.")
@click.option("--endpoint", default="default", show_default=True, help="The endpoint to speak through.")
@click.option("--url", help="The server; unset: VOXGATE_URL, the one on this data folder, or a temporary one.")
def batch(
    script: Path,
    output: Path,
    form: AudioFormat | None,
    voice_map: tuple[str, ...],
    target: Path | None,
    gap_ms: int,
    jobs: int,
    endpoint: str,
    url: str | None,
    **shared: Any,
) -> int:
    """Speak every line of SCRIPT (.csv, .jsonl or .txt) into a folder.

    Each line of a .txt becomes one file. A .csv has a head and a .jsonl one object per line, with text and, optional,
    name, speaker, chapter, voice, language, speed, seed, backend. A second run speaks only lines that are missing or
    have changed. Exit code 1 if a line failed.
    """
    joined_form = None if target is None else _ENDINGS.get(target.suffix.lower())
    if target is not None and joined_form is None:
        raise BadRequest(f"--join {target}: the file's ending must be one of {', '.join(_ENDINGS)}")
    form = form or ("mp3" if target is None else "flac")
    if target is not None and form in ("pcm", "aac"):
        raise BadRequest(f"--format {form} cannot be joined; leave it out, or use flac or wav")
    given = {"format": form, **{name: value for name, value in shared.items() if value is not None}}
    found = read_script(script, given, _voices(voice_map))
    lines, total = found.lines, len(found.lines) + len(found.unusable)
    for wrong in found.unusable:
        click.echo(f"line {wrong.number}: {one_line(wrong.why)}", err=True)
    output.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(output)
    spoken = {line.name: manifest.finished(line, f"{line.name}.{form}") for line in lines}
    left = [line for line in lines if spoken[line.name] is None]
    if len(left) < len(lines):
        click.echo(f"{len(lines) - len(left)} of {total} lines are already spoken", err=True)
    progress = ProgressBar(len(left), sum(len(line.text) for line in left))
    if left:
        with choose_server(settings_for(), url or os.environ.get("VOXGATE_URL")) as (address, key):
            spoken |= _speak_all(left, jobs, progress, manifest, form, (address, key, endpoint))
    failed = len(found.unusable) + sum(one is None for one in spoken.values())
    click.echo(f"{output}: {total - failed} lines, {span(progress.audio_ms / 1000)} of new speech"
               + (f", {failed} failed; run the command again to retry them" if failed else ""), err=True)  # fmt: skip
    if target is not None and joined_form is not None and not failed:
        whole = [(line, one) for line in lines if (one := spoken[line.name]) is not None]
        target.parent.mkdir(parents=True, exist_ok=True)
        joined = join(output, whole, target, joined_form, gap_ms)
        beside = ", ".join(path.name for path in joined.sidecars)
        click.echo(f"{target}: {span(joined.duration_ms / 1000)}, {len(joined.chapters)} chapters; {beside}", err=True)
    elif target is not None:
        click.echo(f"{target} was not written: it needs every line spoken", err=True)
    return FAILED if failed else 0


def _voices(given: tuple[str, ...]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    for (speaker, _, voice), one in zip(pairs, given, strict=True):
        if not speaker.strip() or not voice.strip():
            raise BadRequest(f"--voice-map {one}: write it as SPEAKER=VOICE")
    return {speaker.strip(): voice.strip() for speaker, _, voice in pairs}


def _speak_all(
    lines: list[ScriptLine],
    jobs: int,
    progress: ProgressBar,
    manifest: Manifest,
    form: AudioFormat,
    server: tuple[str, str, str],
) -> dict[str, SpokenLine | None]:
    """Speak the lines; return each line's record, or None if it failed, with a message on stderr."""
    address, key, endpoint = server
    stop = threading.Event()

    def check_stopped(job: Mapping[str, Any]) -> None:
        if stop.is_set():
            raise _Stopped

    def speak_line(line: ScriptLine) -> tuple[Mapping[str, Any], bytes]:
        check_stopped({})
        return speak(address, key, endpoint, line.request, check_stopped, _WAIT_MS)

    spoken: dict[str, SpokenLine | None] = {}
    with ThreadPoolExecutor(jobs) as pool:
        waiting: dict[Future[tuple[Mapping[str, Any], bytes]], ScriptLine] = {
            pool.submit(speak_line, line): line for line in lines
        }
        try:
            progress.show()
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    line = waiting.pop(future)
                    try:
                        job, audio = future.result()
                    except (SynthesisFailed, Unavailable) as error:
                        spoken[line.name] = None
                        progress.count(len(line.text), None)
                        progress.print_line(f"line {line.number} ({line.name}): {one_line(str(error))}")
                        continue
                    result = job["output"]
                    chunks = msgspec.convert(result.get("chunks", ()), tuple[ChunkTime, ...])
                    file = f"{line.name}.{form}"
                    spoken[line.name] = manifest.save(line, file, audio, result["duration_ms"], chunks)
                    progress.count(len(line.text), result["duration_ms"])
        finally:
            stop.set()
            progress.clear()
    return spoken
