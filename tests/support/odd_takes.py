"""A backend whose takes cannot be sent if the text contains "odd"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from backends.interface import Chunk, Event, Take
from backends.testing.scripted import ScriptedBackend


class OddTakesBackend(ScriptedBackend):
    def _speak(self, chunk: Chunk) -> Iterator[Event]:
        wrong = "pcm" if self._settings.host == "inline" else "warnings"
        unsendable: Any = (lambda: "no word of it",)
        for event in super()._speak(chunk):
            is_odd = isinstance(event, Take) and "odd" in chunk.text
            yield msgspec.structs.replace(event, **{wrong: unsendable}) if is_odd else event
