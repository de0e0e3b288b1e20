"""`voxgate say`: speaks a text into a file, through a running server or a temporary one."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gateway.cli.choose_server import choose_server
from gateway.cli.output import echo_json
from gateway.cli.prepared import settings_for
from gateway.cli.script.client import check, speak
from gateway.errors import InvalidInput

_FORMATS = {
    ".mp3": "mp3",
    ".wav": "wav",
    ".flac": "flac",
    ".opus": "opus",
    ".ogg": "opus",
    ".aac": "aac",
    ".pcm": "pcm",
    ".raw": "pcm",
}


@click.command()
@click.argument("text", required=False)
@click.option("-o", "--output", default="speech.mp3", show_default=True, help="The file; `-` for standard output.")
@click.option("--voice", help="A voice of the backend.")
@click.option("--language", help="A BCP 47 tag, such as en or en-GB.")
@click.option("--format", "audio_format", help="mp3, wav, flac, opus, aac or pcm; unset: by the file's ending.")
@click.option("--speed", type=float, help="0.5 to 2.0.")
@click.option("--seed", type=int, help="The same seed gives the same speech, if the backend supports seeds.")
@click.option("--backend", help="The backend to speak with.")
@click.option("--endpoint", default="default", show_default=True, help="The endpoint to speak through.")
@click.option("--url", help="The server; unset: VOXGATE_URL, the one on this data folder, or a temporary one.")
@click.option("--json", "as_json", is_flag=True, help="Print the finished job as JSON.")
def say(
    text: str | None,
    output: str,
    voice: str | None,
    language: str | None,
    audio_format: str | None,
    speed: float | None,
    seed: int | None,
    backend: str | None,
    endpoint: str,
    url: str | None,
    as_json: bool,
) -> None:
    """Speak TEXT (or standard input) into a file.

    Uses the running server if there is one and VOXGATE_API_KEY (or api_key in voxgate.toml) holds a key for it;
    otherwise starts a temporary server for this text.
    """
    text = _text(text)
    given = {
        "text": text,
        "format": audio_format or _format_of(output),
        "voice": voice,
        "language": language,
        "speed": speed,
        "seed": seed,
        "backend": backend,
    }
    request = {name: value for name, value in given.items() if value is not None}
    check(request)
    settings = settings_for()
    with choose_server(settings, url or os.environ.get("VOXGATE_URL")) as (address, key):
        job, audio = speak(address, key, endpoint, request, _progress)
    _write(output, audio)
    result = job["output"]
    if as_json:
        echo_json({**job, "output": {name: value for name, value in result.items() if name != "audio_base64"}})
        return
    cached = ", from the cache" if result["cache_hit"] else ""
    click.echo(f"{output}: {result['duration_ms'] / 1000:.2f} s by {result['backend']}{cached}", err=True)
    for warning in result.get("warnings", ()):
        click.echo(f"warning: {warning['message']}", err=True)


def _format_of(output: str) -> str:
    """Return the format of the file's ending; mp3 for no ending and for standard output."""
    ending = Path(output).suffix.lower()
    if ending and ending not in _FORMATS:
        raise InvalidInput(
            f"{ending!r} is not the ending of a format; use one of {', '.join(_FORMATS)}, or add --format mp3"
        )
    return _FORMATS.get(ending, "mp3")


def _text(text: str | None) -> str:
    if text is None or text == "-":
        if sys.stdin.isatty():
            raise InvalidInput('no text to speak; give one: voxgate say "Hello." -o hello.mp3')
        return sys.stdin.read()
    return text


def _progress(job: Mapping[str, Any]) -> None:
    if not sys.stderr.isatty():
        return
    progress = job.get("progress")
    chunks = f"{progress['chunks_done']} of {progress['chunks_total']} chunks" if progress else ""
    words = job.get("reason", chunks)  # `reason` is there while the job waits
    click.echo(f"\r\033[K{job['status']} {words}", nl=False, err=True)


def _write(output: str, audio: bytes) -> None:
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    if output == "-":
        sys.stdout.buffer.write(audio)
    else:
        Path(output).write_bytes(audio)
