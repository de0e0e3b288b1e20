"""A bar that says how far a batch is, how fast it goes, and how long it will take."""

from __future__ import annotations

import sys
import time

import click

_WIDTH = 24


def bar(done: int, total: int) -> str:
    """`[######------]` for so many of so many."""
    filled = _WIDTH if total == 0 else _WIDTH * done // total
    return f"[{'#' * filled}{'-' * (_WIDTH - filled)}]"


def span(seconds: float) -> str:
    """`1:05`, or `2:03:04` from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressBar:
    """Counts lines; time left is reckoned by characters, since lines differ.

    Args:
        lines, characters: what there is to speak in this run.
    """

    def __init__(self, lines: int, characters: int) -> None:
        self._lines = lines
        self._characters = characters
        self._started = time.monotonic()
        self._live = sys.stderr.isatty()
        self.done = self.failed = self.spoken = 0
        self.audio_ms = 0

    def ended(self, characters: int, audio_ms: int | None) -> None:
        """A line is done; `audio_ms` is None where it failed."""
        self.done += 1
        self.spoken += characters
        if audio_ms is None:
            self.failed += 1
        else:
            self.audio_ms += audio_ms
        self.show()

    def say(self, words: str) -> None:
        """A line of its own, above the bar."""
        self.clear()
        click.echo(words, err=True)
        self.show()

    def show(self) -> None:
        """Draw the bar anew, on a terminal."""
        if self._live:
            click.echo(f"\r\033[K{self.line(time.monotonic() - self._started)}", nl=False, err=True)

    def clear(self) -> None:
        """Take the bar away."""
        if self._live:
            click.echo("\r\033[K", nl=False, err=True)

    def line(self, elapsed_s: float) -> str:
        """The bar as it is after so many seconds."""
        parts = [f"{bar(self.done, self._lines)} {self.done} of {self._lines} lines"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.spoken and elapsed_s > 0:
            rate = self.spoken / elapsed_s
            parts.append(f"{rate:.0f} characters/s, {self.audio_ms / 1000 / elapsed_s:.1f} x real time")
            if self.done < self._lines:
                parts.append(f"{span((self._characters - self.spoken) / rate)} left")
        return ", ".join(parts)
