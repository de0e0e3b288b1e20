"""Reports the results of a benchmark: a table for people, JSON for programs, and the machine it ran on."""

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
    """The results of one benchmark. Tables are printed when added; `write` saves everything.

    Args:
        name: the name of the benchmark and of its file in `results/`.
        title: one line: what is measured, and beside which peer.
    """

    def __init__(self, name: str, title: str) -> None:
        self.name = name
        self.title = title
        self._tables: list[dict[str, Any]] = []
        self._targets: list[dict[str, Any]] = []
        self._load_before = os.getloadavg()[0]
        print(f"\n## {title}\n", flush=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], note: str = "") -> None:
        """Print rows as a Markdown table, and add them to the results."""
        shown = [[_shown(cell) for cell in row] for row in rows]
        widths = [max(len(line[i]) for line in [list(columns), *shown]) for i in range(len(columns))]
        print(_line(columns, widths))
        print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
        for line in shown:
            print(_line(line, widths))
        print(f"\n{note}\n" if note else "", flush=True)
        self._tables.append({"columns": list(columns), "rows": shown, "note": note})

    def target(self, what: str, measured: float, wanted: float, *, at_least: bool = False) -> None:
        """Compare a figure with its target and print the result; never fails."""
        holds = measured >= wanted if at_least else measured <= wanted
        sign = ">=" if at_least else "<="
        print(f"- {'holds' if holds else 'MISSED'}: {what}: {measured:.3g} (wanted {sign} {wanted:g})", flush=True)
        self._targets.append({"what": what, "measured": measured, "sign": sign, "wanted": wanted, "holds": holds})

    def write(self) -> None:
        """Save the results as JSON."""
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
    """Describe processor, cores and Python in one line."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {platform.system()}, Python {platform.python_version()}"


def busy() -> str:
    """Describe the machine's load, for the head of a run."""
    return f"load average {os.getloadavg()[0]:.1f} over the last minute"


def median(values: Sequence[float]) -> float:
    """Return the median; NaN for no values."""
    return statistics.median(values) if values else float("nan")


def quantile(values: Sequence[float], q: float) -> float:
    """Return the q-quantile by the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("nan")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _shown(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.3g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def progress(words: str) -> None:
    """Print the current step on standard error."""
    print(f"  ... {words}", file=sys.stderr, flush=True)
