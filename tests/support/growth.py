"""Measures how the CPU time of a function grows with its text; compare figures of one run only."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def cpu_s(work: Callable[[], Any], goes: int = 2) -> float:
    """Return the CPU seconds of a function in this thread; the shortest of `goes` calls."""
    took = []
    for _ in range(goes):
        began = time.thread_time()
        work()
        took.append(time.thread_time() - began)
    return min(took)


def growth(work: Callable[[str], Any], text: str) -> float:
    """Return the ratio of the CPU time for the doubled text to that for the text."""
    return cpu_s(lambda: work(text * 2)) / cpu_s(lambda: work(text))
