"""Measures planning: CPU seconds per megabyte for many kinds of text, hostile ones included, and for dictionaries."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from backends.interface import ChunkRule, Limit
from benchmarks.report import Report, progress
from gateway.errors import InvalidInput
from gateway.speech.text.lexicon import Lexicon, Pronunciation
from gateway.speech.text.plan import make_plan
from gateway.speech.text.written import as_written

RULE = ChunkRule(1, 40, Limit(280))
UNITS = {
    "prose": "The quick brown fox jumps over the lazy dog, and then? It sleeps. ",
    "opened quotes": "“a ",
    "apostrophes": "'",
    "backticks": "`make` and ",
    "a table in one line": "'a','b',",
    "guillemets": "« ",
    "okinas": "Hawai‘i na ",
    "German quotes": '„a" ',
    "addresses": "www.a-",
    "empty lines": "\n\n",
    "short paragraphs": "One two three.\n\n",
    "Han without marks": "你好",
    "flags": "🇩🇪",
    "combining marks": "e\u0301",
    "no space": "x",
}


def main(scale: float = 1.0) -> None:
    """Measure CPU seconds in this process."""
    report = Report("plan", "Planning: CPU seconds per MB of text, at one and at two MB")
    size = max(50_000, round(1_000_000 * scale))
    rows = []
    for name, unit in UNITS.items():
        progress(name)
        cells: list[object] = [name]
        for spelled_out in (False, True):
            once, twice = (
                _cpu_s(partial(make_plan, language="en", rule=RULE, spelled_out=spelled_out), unit, size * times)
                for times in (1, 2)
            )
            cells += [once * 1e6 / size, twice / once]
        rows.append(cells)
    note = "`x2`: how many times as long twice the text takes."
    report.table(("text", "s/MB", "x2", "spelled out, s/MB", "x2"), rows, note)
    report.table(("dictionary", "text", "s/MB", "x2"), list(_dictionaries(size // 2)))
    report.write()


def _dictionaries(size: int) -> list[tuple[object, ...]]:
    deep = Lexicon([Pronunciation(" ".join(["a"] * 49 + ["b"]), "z")])
    dashes = Lexicon([Pronunciation("a-" * 48 + "b", "z")])
    wide = Lexicon([Pronunciation(f"w{n}", f"{chr(97 + n % 26)}ord{n}") for n in range(2_000)])
    head = " ".join(f"w{n}" for n in range(2_000)) + ". "
    rows: list[tuple[object, ...]] = []

    def row(dictionary: str, name: str, unit: str, work: Callable[[str], Any]) -> None:
        progress(name)
        once, twice = (_cpu_s(work, unit, size * times) for times in (1, 2))
        rows.append((dictionary, name, once * 1e6 / size, twice / once))

    row("one deep entry", "a a a", "a ", deep.respell)
    row("one deep entry", "a-a-a", "a-", dashes.respell)
    row("2,000 entries", "prose", UNITS["prose"], wide.respell)

    def shown(text: str) -> None:
        found = wide.respell(head + text)
        assert found is not None  # the head is in the dictionary
        as_written(make_plan(found.text, "en", RULE), found)

    row("2,000 entries, all used", "prose, planned and shown as written", UNITS["prose"], shown)
    return rows


def _text(unit: str, size: int) -> str:
    return "a" + unit * (size // len(unit))


def _cpu_s(work: Callable[[str], Any], unit: str, size: int) -> float:
    text = _text(unit, size)
    began = time.thread_time()
    try:
        work(text)
    except InvalidInput:  # more chunks than one request may have
        return float("nan")
    return time.thread_time() - began


if __name__ == "__main__":
    main()
