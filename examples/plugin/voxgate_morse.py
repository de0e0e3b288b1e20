"""A complete voxgate backend: it speaks in Morse code (ITU-R M.1677-1)."""

import msgspec
import numpy as np

from voxgate.plugin import BackendContext, Capabilities, Chunk, Feed, Pcm, Progress, Voice, each

RATE = 16_000
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
SIGNS = (
    ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.. "
    "----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----."
)
CODES = dict(zip(LETTERS, SIGNS.split(), strict=True))


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of [backends.morse]."""

    pitch_hz: float = 600.0


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of input.options."""

    words_per_minute: int = 20


class MorseBackend:
    name = "morse"
    api_version = 1
    Settings = Settings
    RequestOptions = Options

    def __init__(self, settings: Settings, context: BackendContext) -> None:
        self.pitch_hz = settings.pitch_hz

    def capabilities(self) -> Capabilities:
        return Capabilities(languages=("*",), sample_rate=RATE, seed=True)

    def voices(self) -> tuple[Voice, ...]:
        return (Voice("key", ("*",), f"tone-{self.pitch_hz}", "a telegraph key"),)

    def revision(self) -> str:
        return "1.0"

    def load(self, progress: Progress) -> None:
        progress(1.0, "nothing to load")

    def synthesize(self, feed: Feed):
        return each(feed, self.speak)

    def unload(self) -> None:
        pass

    def speak(self, chunk: Chunk) -> tuple[Pcm, int]:
        # Units of a dot: a dash is three, the gap inside a letter one, between letters three, between words seven.
        words = [[CODES[letter] for letter in word if letter in CODES] for word in chunk.text.lower().split()]
        if not any(words):
            raise ValueError("Morse code has no sign for this text")
        keyed = "0000000".join(
            "000".join("0".join("1" if s == "." else "111" for s in c) for c in w) for w in words if w
        )
        dot = round(RATE * 1.2 / chunk.options.words_per_minute)
        gate = np.repeat(np.array([int(unit) for unit in keyed], np.float32), dot)
        return 0.4 * gate * np.sin(2 * np.pi * self.pitch_hz / RATE * np.arange(gate.size)).astype(np.float32), RATE
