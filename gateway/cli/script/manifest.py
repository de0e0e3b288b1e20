"""The manifest of a batch folder: records which line each file holds, so that a second run speaks only what is
missing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from gateway.cli.script.lines import ScriptLine
from gateway.speech.encode.render import ChunkTime

FILE = ".voxgate-batch.jsonl"


class SpokenLine(msgspec.Struct, frozen=True):
    """A finished line: its file, the digest of its request, and size, duration and chunk times of the audio."""

    file: str
    request: str
    size_bytes: int
    duration_ms: int
    chunks: tuple[ChunkTime, ...] = ()


class Manifest:
    """Reads and writes the record file in the folder. A line is written only after its audio file is whole."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / FILE
        self._spoken = {spoken.file: spoken for spoken in self._read()}

    def _read(self) -> Iterator[SpokenLine]:
        try:
            written = self._path.read_bytes()
        except FileNotFoundError:
            return
        for line in written.splitlines():
            try:
                yield msgspec.json.decode(line, type=SpokenLine)
            except msgspec.MsgspecError:
                continue  # cut short by a crash; the line is spoken again

    def finished(self, line: ScriptLine, file: str) -> SpokenLine | None:
        """Return the line's record if `file` holds this line and is whole, else None."""
        spoken = self._spoken.get(file)
        if spoken is None or spoken.request != line.digest():
            return None
        try:
            whole = (self._folder / file).stat().st_size == spoken.size_bytes
        except FileNotFoundError:
            return None
        return spoken if whole else None

    def save(
        self, line: ScriptLine, file: str, audio: bytes, duration_ms: int, chunks: tuple[ChunkTime, ...]
    ) -> SpokenLine:
        """Write the audio file and then its record."""
        spool = self._folder / f".{file}.part"
        spool.write_bytes(audio)
        spool.replace(self._folder / file)
        spoken = SpokenLine(file, line.digest(), len(audio), duration_ms, chunks)
        record = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(record, msgspec.json.encode(spoken) + b"\n")
        finally:
            os.close(record)
        self._spoken[file] = spoken
        return spoken
