"""Reads scripts of many lines as `voxgate batch` does."""

from __future__ import annotations

from pathlib import Path

from gateway.cli.script.lines import ScriptLine, read_script


def lines_of(path: Path) -> tuple[ScriptLine, ...]:
    """Return the lines of a script in which every line can be used."""
    script = read_script(path, {"format": "mp3"}, {})
    assert not script.unusable
    return script.lines
