"""How the cost of a piece of work grows with its text: CPU seconds, compared within one run only."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def cpu_s(work: Callable[[], Any], goes: int = 2) -> float:
    """CPU seconds of a piece of work in this thread; the quickest of its goes."""
    took = []
    for _ in range(goes):
        began = time.thread_time()
        work()
        took.append(time.thread_time() - began)
    return min(took)


def growth(work: Callable[[str], Any], text: str) -> float:
    """How many times as long twice the text takes."""
    return cpu_s(lambda: work(text * 2)) / cpu_s(lambda: work(text))
