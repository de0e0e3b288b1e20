"""Reads a script: each line of a text, row of a table or object of JSON is one utterance."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from gateway.cli.script.client import check
from gateway.errors import BadRequest, InvalidInput
from gateway.settings.nearest import nearest

COLUMNS = ("text", "name", "speaker", "chapter", "voice", "language", "speed", "seed", "backend")
_REQUEST_KEYS = ("voice", "language", "speed", "seed", "backend")
_NUMBERS: dict[str, Callable[[str], float]] = {"speed": float, "seed": int}
_NAME = re.compile(r"[\w][\w .-]{0,150}").fullmatch
_LONGEST_NAME_BYTES = 200
"""File systems allow 255; the ending and the mark of an unfinished file are added to the name."""
_CLIP_CHARS = 60
_EXAMPLE = 'a line is an object such as {"text": "Hello."}'

Row: TypeAlias = dict[str, Any]


class ScriptLine(msgspec.Struct, frozen=True):
    """One utterance of a script.

    Args:
        number: the line's number in the script, from 1.
        name: the name of its audio file, without an ending.
        chapter: the title of the chapter that begins here, or "".
        request: `input` of the job API, without format.
    """

    number: int
    name: str
    speaker: str
    chapter: str
    request: dict[str, Any]

    @property
    def text(self) -> str:
        """Return the text to speak."""
        return str(self.request["text"])

    def digest(self) -> str:
        """Return a hash of the request; a changed line gets a different one."""
        return hashlib.sha256(msgspec.json.encode(self.request, order="sorted")).hexdigest()


class Unusable(msgspec.Struct, frozen=True):
    """A line that cannot be spoken: its number in the script, and `why`: what is wrong and what is allowed."""

    number: int
    why: str


class Script(msgspec.Struct, frozen=True):
    """The content of a script: lines to speak and lines that cannot be spoken."""

    lines: tuple[ScriptLine, ...]
    unusable: tuple[Unusable, ...]


def read_script(path: Path, shared: Mapping[str, Any], voices: Mapping[str, str]) -> Script:
    """Read a script: every utterance, and every line that cannot be spoken.

    Args:
        path: `.csv` with a head, `.jsonl` (or `.ndjson`), or a text with one utterance a line.
        shared: values for lines that do not set their own.
        voices: the voice of each speaker; `*` stands for every other speaker.

    Raises:
        BadRequest: the script as a whole is wrong: its encoding, its head, a speaker without a voice, or it is empty.
        InvalidInput: a value of `shared` is wrong for every line.
    """
    check({"text": "Hello.", **shared})
    written = _read(path)
    lines: list[ScriptLine] = []
    unusable: list[Unusable] = []
    named: dict[str, int] = {}
    voiceless: dict[str, int] = {}
    for number, found in _rows(path, written):
        try:
            row = _decode_object(found) if isinstance(found, str) else found
            _refuse_unknown(row)
            name = _reserve_name(row, number, named)
            speaker = _string(row, "speaker")
            given = _own_request(row, speaker, voices)
            if speaker and voices and "voice" not in given:
                voiceless.setdefault(speaker, number)
            check(given)
            request = {**shared, **given, "text": given["text"].strip()}
            lines.append(ScriptLine(number, name, speaker, _string(row, "chapter"), request))
        except InvalidInput as error:
            unusable.append(Unusable(number, str(error)))
    if voiceless:
        listed = ", ".join(f"{speaker!r} (line {number})" for speaker, number in voiceless.items())
        raise BadRequest(
            f"{path}: no voice for {listed}; add --voice-map {next(iter(voiceless))}=VOICE, or '*=VOICE' for the rest"
        )
    if not lines and not unusable:
        raise BadRequest(f"{path} holds no text to speak")
    return Script(tuple(lines), tuple(unusable))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from error


def _rows(path: Path, written: str) -> Iterable[tuple[int, Row | str]]:
    """Yield number and content of each line that is not blank; JSON is not decoded yet."""
    kind = path.suffix.lower()
    if kind == ".csv":
        return _csv_rows(path, written)
    if kind in (".jsonl", ".ndjson"):
        # `splitlines` also splits at Unicode line ends, which JSON allows inside a text.
        return ((number, line) for number, line in enumerate(written.split("\n"), 1) if line.strip())
    if kind in (".txt", ".md", ""):
        return ((number, {"text": line}) for number, line in enumerate(written.splitlines(), 1) if line.strip())
    raise BadRequest(f"{path}: a script must be .csv, .jsonl or .txt")


def _csv_rows(path: Path, written: str) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(max(csv.field_size_limit(), len(written)))  # a text may be of any length
    reader = csv.DictReader(io.StringIO(written, newline=""))
    try:
        _refuse_unknown(reader.fieldnames or ())
    except InvalidInput as error:
        raise BadRequest(f"{path}, line 1: {error}") from None
    if "text" not in (reader.fieldnames or ()):
        raise BadRequest(f"{path}, line 1: the head names no column text; known: {', '.join(COLUMNS)}")
    for row in reader:
        found = {name: value for name, value in row.items() if value}
        if found:
            yield reader.line_num, found


def _decode_object(written: str) -> Row:
    """Decode a line of JSON; lone surrogates (JavaScript writes them) are removed, as in the job API."""
    try:
        # This parser accepts "\ud83d", NaN and 1e999, so that an error can name the value that is wrong.
        row = json.loads(written)
    except (ValueError, RecursionError) as error:
        where = f"{error.msg} at character {error.pos + 1}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise InvalidInput(f"not JSON: {where}; {_EXAMPLE}") from None
    if not isinstance(row, dict):
        raise InvalidInput(f"not an object; {_EXAMPLE}")
    return {key: _scalar(key, value) for key, value in row.items() if value is not None}


def _scalar(key: str, value: Any) -> Any:
    if isinstance(value, dict | list):
        kind = "an object" if isinstance(value, dict) else "a list"
        raise InvalidInput(f"{_clipped(key)} is {kind}; it must be a string or a number")
    return value.encode("utf-8", "ignore").decode() if isinstance(value, str) else value


def _refuse_unknown(names: Iterable[str | None]) -> None:
    for name in names:
        if name is None:  # `csv` puts surplus cells under None
            raise InvalidInput("more cells than the head has; quote a text with commas")
        if name not in COLUMNS:
            meant = nearest(name, COLUMNS)
            hint = f"did you mean {meant}?" if meant else f"known: {', '.join(COLUMNS)}"
            raise InvalidInput(f"unknown column {_clipped(name)}; {hint}")


def _reserve_name(row: Row, number: int, named: dict[str, int]) -> str:
    """Return the line's name and reserve it; a line with another error reserves its name too."""
    name = _string(row, "name") or f"{number:04}"
    if not _NAME(name) or len(name.encode()) > _LONGEST_NAME_BYTES:
        raise InvalidInput(
            f"name {_clipped(name)} cannot be a file name; use letters, digits, spaces, '.', '_' and '-', at most "
            f"{_LONGEST_NAME_BYTES} bytes"
        )
    if named.setdefault(name.lower(), number) != number:
        raise InvalidInput(
            f"name {_clipped(name)} is already used by line {named[name.lower()]}; give this line another name"
        )
    return name


def _own_request(row: Row, speaker: str, voices: Mapping[str, str]) -> Row:
    """Return the line's own request values, with the voice of its speaker."""
    if "text" not in row:
        raise InvalidInput(f"text is missing; known: {', '.join(COLUMNS)}")
    given = {key: row[key] for key in ("text", *_REQUEST_KEYS) if key in row}
    for key, number_of in _NUMBERS.items():
        if isinstance(given.get(key), str):
            try:
                given[key] = number_of(given[key])
            except ValueError:
                continue  # `check` reports it
    voice = voices.get(speaker, voices.get("*"))
    if speaker and voice is not None:
        given.setdefault("voice", voice)
    return given


def _string(row: Row, key: str) -> str:
    value = row.get(key, "")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidInput(f"{key} must be a string, got {_clipped(value)}")
    return str(value)


def _clipped(value: object) -> str:
    words = repr(value)
    return words if len(words) <= _CLIP_CHARS else f"{words[: _CLIP_CHARS - 3]}..."
