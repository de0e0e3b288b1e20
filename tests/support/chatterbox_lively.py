"""Chatterbox whose takes pass the audio checks, so that only flaws reported by the engine are found."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

from backends.interface import Event, Feed, Take
from benchmarks.tiny import TinyChatterbox


class LivelyChatterbox(TinyChatterbox):
    """Takes that change in level like syllables; those of a random model have one level, which the checks find."""

    def synthesize(self, feed: Feed) -> Iterator[Event]:
        for event in super().synthesize(feed):
            if isinstance(event, Take):
                swell = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * np.arange(event.pcm.size) / event.rate)
                event = msgspec.structs.replace(event, pcm=(event.pcm * swell).astype(np.float32))
            yield event
