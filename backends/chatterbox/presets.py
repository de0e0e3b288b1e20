"""Preset voices: the recordings in the operator's folder `voices_dir`."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import soundfile  # type: ignore[import-untyped]

from backends.interface import BackendUnavailable, Material, Voice

SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
SHORTEST_S, LONGEST_S = 3.0, 60.0


def presets(folder: str | None, languages: tuple[str, ...]) -> tuple[Voice, ...]:
    """List a voice for each recording in a folder, named like its file without the ending.

    Raises:
        BackendUnavailable: the folder does not exist, or a file in it is no recording of 3 to 60 seconds.
    """
    if folder is None:
        return ()
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise BackendUnavailable(f"voices_dir: there is no folder {path}", "make it, or leave voices_dir out")
    found: dict[str, Voice] = {}
    for file in sorted(path.iterdir()):
        if file.suffix.lower() not in SUFFIXES:
            continue
        if file.stem in found or file.stem == "default":
            raise BackendUnavailable(f"voices_dir: {file} has the name of another voice", "rename it")
        content = _content_of(file)
        found[file.stem] = Voice(file.stem, languages, content, "a preset of this server", material=Material(content))
    return tuple(found.values())


def preset_file(folder: str | None, content: str) -> Path | None:
    """Return the recording of a preset by its content hash; None if the folder has none with it."""
    files = () if folder is None else sorted(Path(folder).expanduser().iterdir())
    return next((file for file in files if file.suffix.lower() in SUFFIXES and _content_of(file) == content), None)


def _content_of(file: Path) -> str:
    stat = file.stat()
    return _content(file, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(1024)
def _content(file: Path, size: int, changed_ns: int) -> str:
    """Check and hash a recording; the result is cached until size or time of the file change."""
    try:
        length_s = soundfile.info(file).duration
    except RuntimeError as error:
        raise BackendUnavailable(f"voices_dir: {file} cannot be read: {error}", "replace or remove it") from error
    if not SHORTEST_S <= length_s <= LONGEST_S:
        reason = f"voices_dir: {file} lasts {length_s:.1f} s; a voice needs {SHORTEST_S:g} to {LONGEST_S:g} s"
        raise BackendUnavailable(reason, "cut or replace it")
    return hashlib.sha256(file.read_bytes()).hexdigest()
