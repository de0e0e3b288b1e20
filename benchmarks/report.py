"""What a benchmark gives: a table for people, JSON for machines, and the machine it was measured on."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


class Report:
    """One benchmark's outcome. Rows are printed as they are added to; `write` keeps everything.

    Args:
        name: of the benchmark, and of its file in `results/`.
        title: one line that says what is measured beside what.
    """

    def __init__(self, name: str, title: str) -> None:
        self.name = name
        self.title = title
        self._tables: list[dict[str, Any]] = []
        self._targets: list[dict[str, Any]] = []
        self._load_before = os.getloadavg()[0]
        print(f"\n## {title}\n", flush=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], note: str = "") -> None:
        """Print rows under their columns as Markdown, and keep them."""
        shown = [[_shown(cell) for cell in row] for row in rows]
        widths = [max(len(line[i]) for line in [list(columns), *shown]) for i in range(len(columns))]
        print(_line(columns, widths))
        print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
        for line in shown:
            print(_line(line, widths))
        print(f"\n{note}\n" if note else "", flush=True)
        self._tables.append({"columns": list(columns), "rows": shown, "note": note})

    def target(self, what: str, measured: float, wanted: float, *, at_least: bool = False) -> None:
        """Compare a figure with the one that was wanted; says so, and never fails."""
        holds = measured >= wanted if at_least else measured <= wanted
        sign = ">=" if at_least else "<="
        print(f"- {'holds' if holds else 'MISSED'}: {what}: {measured:.3g} (wanted {sign} {wanted:g})", flush=True)
        self._targets.append({"what": what, "measured": measured, "sign": sign, "wanted": wanted, "holds": holds})

    def write(self) -> None:
        """Keep everything as JSON."""
        RESULTS.mkdir(exist_ok=True)
        document = {
            "benchmark": self.name,
            "title": self.title,
            "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "load_before": round(self._load_before, 2),
            "load_after": round(os.getloadavg()[0], 2),
            "tables": self._tables,
            "targets": self._targets,
        }
        (RESULTS / f"{self.name}.json").write_text(json.dumps(document, indent=1))


def machine() -> str:
    """Processor, cores and Python, in one line."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {platform.system()}, Python {platform.python_version()}"


def busy() -> str:
    """How busy the machine is, for the head of a run."""
    return f"load average {os.getloadavg()[0]:.1f} over the last minute"


def median(values: Sequence[float]) -> float:
    """The median, or not a number of nothing."""
    return statistics.median(values) if values else float("nan")


def quantile(values: Sequence[float], q: float) -> float:
    """The q-quantile by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("nan")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _shown(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def progress(words: str) -> None:
    """Say on standard error what is being measured."""
    print(f"  ... {words}", file=sys.stderr, flush=True)
