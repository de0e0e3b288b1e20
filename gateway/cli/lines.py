"""A script to speak: lines of a text, rows of a table, or objects of JSON, one utterance each."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.errors import BadRequest
from gateway.settings.nearest import nearest

COLUMNS = ("text", "name", "speaker", "chapter", "voice", "language", "speed", "seed", "backend")
_NUMBERS = {"speed": float, "seed": int}
_NAME = re.compile(r"[\w][\w .-]{0,150}").fullmatch


class Line(msgspec.Struct, frozen=True):
    """One utterance of a script.

    Args:
        number: its line in the file, from 1.
        name: of its file, without an ending.
        chapter: where it says that a chapter begins.
        request: `input` of the job API, without format.
    """

    number: int
    name: str
    speaker: str
    chapter: str
    request: dict[str, Any]

    @property
    def text(self) -> str:
        """What is spoken."""
        return str(self.request["text"])

    def digest(self) -> str:
        """Tells whether a line is still the one that was spoken."""
        return hashlib.sha256(msgspec.json.encode(self.request, order="sorted")).hexdigest()


def read_lines(path: Path, shared: Mapping[str, Any], voices: Mapping[str, str]) -> list[Line]:
    """Every utterance of a script.

    Args:
        path: `.csv` with a head, `.jsonl` (or `.ndjson`), or a text with one utterance a line.
        shared: what lines that do not say it themselves get.
        voices: the voice of each speaker; `*` is every other one.

    Raises:
        BadRequest: the line and what is wrong with it.
    """
    try:
        written = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error
    kind = path.suffix.lower()
    if kind == ".csv":
        rows = _of_table(path, written)
    elif kind in (".jsonl", ".ndjson"):
        rows = _of_json(path, written)
    elif kind in (".txt", ".md", ""):
        rows = ((number, {"text": text}) for number, text in enumerate(written.splitlines(), 1) if text.strip())
    else:
        raise BadRequest(f"{path}: a script is .csv, .jsonl or .txt")
    lines = [_line(path, number, row, shared, voices) for number, row in rows]
    if not lines:
        raise BadRequest(f"{path} holds nothing to speak")
    _refuse_twins(path, lines)
    return lines


def _of_table(path: Path, written: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(written, newline=""))
    _refuse_unknown(path, 1, reader.fieldnames or ())
    if "text" not in (reader.fieldnames or ()):
        raise BadRequest(f"{path}, line 1: the head names no column text; known: {', '.join(COLUMNS)}")
    for row in reader:
        if None in row:
            raise BadRequest(f"{path}, line {reader.line_num}: more cells than the head has; quote a text with commas")
        found = {name: value for name, value in row.items() if value}
        if found:
            yield reader.line_num, found


def _of_json(path: Path, written: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(written.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line, type=dict[str, Any])
        except msgspec.ValidationError as error:
            raise BadRequest(f'{path}, line {number}: must be an object such as {{"text": "Hello."}}') from error
        except msgspec.DecodeError as error:
            raise BadRequest(f"{path}, line {number}: not JSON: {error}") from error
        _refuse_unknown(path, number, row)
        yield number, row


def _refuse_unknown(path: Path, number: int, names: Iterable[str]) -> None:
    for name in names:
        if name not in COLUMNS:
            meant = nearest(name, COLUMNS)
            hint = f"did you mean {meant}?" if meant else f"known: {', '.join(COLUMNS)}"
            raise BadRequest(f"{path}, line {number}: unknown column {name!r}; {hint}")


def _line(
    path: Path, number: int, row: Mapping[str, Any], shared: Mapping[str, Any], voices: Mapping[str, str]
) -> Line:
    def refuse(words: str) -> BadRequest:
        return BadRequest(f"{path}, line {number}: {words}")

    text, speaker = row.get("text"), str(row.get("speaker", ""))
    if not isinstance(text, str) or not text.strip():
        raise refuse("text is missing")
    name = str(row.get("name", f"{number:04}"))
    if not _NAME(name):
        raise refuse(f"name {name!r} cannot be a file's; use letters, digits, spaces, '.', '_' and '-'")
    own = {key: row[key] for key in ("voice", "language", "speed", "seed", "backend") if row.get(key) is not None}
    for key, number_of in _NUMBERS.items():
        if isinstance(own.get(key), str):
            try:
                own[key] = number_of(own[key])
            except ValueError:
                raise refuse(f"{key} must be a number, got {own[key]!r}") from None
    if speaker and "voice" not in own and voices:
        voice = voices.get(speaker, voices.get("*"))
        if voice is None:
            raise refuse(
                f"speaker {speaker!r} has no voice; add --voice-map {speaker}=VOICE, or '*=VOICE' for the rest"
            )
        own["voice"] = voice
    return Line(number, name, speaker, str(row.get("chapter", "")), {**shared, **own, "text": text.strip()})


def _refuse_twins(path: Path, lines: list[Line]) -> None:
    seen: dict[str, int] = {}
    for line in lines:
        if line.name.lower() in seen:
            raise BadRequest(
                f"{path}, line {line.number}: name {line.name!r} is that of line {seen[line.name.lower()]}"
            )
        seen[line.name.lower()] = line.number
