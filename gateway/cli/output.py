"""Prints the output of a command: a table for people, JSON for scripts."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import Any

import click
import msgspec

_BACKGROUND = re.compile(r"\(Background on this error at: [^)]*\)")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def echo_json(document: Any) -> None:
    """Print a document (Structs included) as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def echo_table(heads: Sequence[str], rows: Sequence[Sequence[object]], empty: str = "none") -> None:
    """Print rows in columns as wide as their longest cell, or `empty` if there is no row."""
    if not rows:
        click.echo(empty)
        return
    cells = [[str(head).upper() for head in heads], *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def one_line(words: str) -> str:
    """Return a library's message as one line, without SQLAlchemy's link to its manual."""
    return " ".join(_BACKGROUND.sub("", words).split())


def format_time(ms: int | None) -> str:
    """Format UTC milliseconds as `2026-11-22 20:15`; None gives `-`."""
    if ms is None:
        return "-"
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC).strftime("%Y-%m-%d %H:%M")


def format_bytes(size: int) -> str:
    """Format a size in decimal units: `1.2 GB`."""
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def _cell(value: object) -> str:
    return "-" if value is None or value == "" else str(value)
