"""A progress bar for batches: shows lines done, speed and time left."""

from __future__ import annotations

import sys
import time

import click

_WIDTH = 24


def bar(done: int, total: int) -> str:
    """Draw `[######------]` for `done` of `total`."""
    filled = _WIDTH if total == 0 else _WIDTH * done // total
    return f"[{'#' * filled}{'-' * (_WIDTH - filled)}]"


def span(seconds: float) -> str:
    """Format seconds as `1:05`, or as `2:03:04` from one hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class ProgressBar:
    """Counts lines, and estimates the time left by characters, since lines differ in length.

    Args:
        lines, characters: the amount to speak in this run.
    """

    def __init__(self, lines: int, characters: int) -> None:
        self._lines = lines
        self._characters = characters
        self._started = time.monotonic()
        self._live = sys.stderr.isatty()
        self.done = self.failed = self.spoken = 0
        self.audio_ms = 0

    def count(self, characters: int, audio_ms: int | None) -> None:
        """Count a finished line; `audio_ms` is None if it failed."""
        self.done += 1
        self.spoken += characters
        if audio_ms is None:
            self.failed += 1
        else:
            self.audio_ms += audio_ms
        self.show()

    def print_line(self, text: str) -> None:
        """Print a message on its own line above the bar."""
        self.clear()
        click.echo(text, err=True)
        self.show()

    def show(self) -> None:
        """Redraw the bar, on a terminal only."""
        if self._live:
            click.echo(f"\r\033[K{self.line(time.monotonic() - self._started)}", nl=False, err=True)

    def clear(self) -> None:
        """Erase the bar."""
        if self._live:
            click.echo("\r\033[K", nl=False, err=True)

    def line(self, elapsed_s: float) -> str:
        """Return the bar's text after `elapsed_s` seconds."""
        parts = [f"{bar(self.done, self._lines)} {self.done} of {self._lines} lines"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.spoken and elapsed_s > 0:
            rate = self.spoken / elapsed_s
            parts.append(f"{rate:.0f} characters/s, {self.audio_ms / 1000 / elapsed_s:.1f} x real time")
            if self.done < self._lines:
                parts.append(f"{span((self._characters - self.spoken) / rate)} left")
        return ", ".join(parts)
