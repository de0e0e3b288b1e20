"""Measures Chatterbox's token decoder beside upstream's loop: same weights, tokens and threads, in one run.

Needs Chatterbox: `.venv-chatterbox/bin/python -m benchmarks chatterbox_tokens`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import checkpoints
from benchmarks.report import Report, median, progress

SIZES = (1, 2, 4, 8, 16)
ROUNDS = 3


def main(scale: float = 1.0) -> None:
    """Measure CPU time with one thread, tiny weights and full-size ones."""
    import torch

    from benchmarks import timing

    torch.set_num_threads(1)
    report = Report("chatterbox_tokens", "Chatterbox: speech tokens beside upstream's loop, one thread, CPU seconds")
    sizes = (("tiny", False, max(20, round(80 * scale))), ("full-size", True, max(6, round(12 * scale))))
    for name, full, most in sizes:
        progress(f"making a {name} checkpoint")
        with tempfile.TemporaryDirectory(prefix="voxgate-bench-") as folder:
            model = load(checkpoints.make_english(Path(folder), eos_at=None, full=full), full)
        compare(report, name, model, most, timing.cpu)
        agreement(report, name, model, most)
    report.write()


def load(folder: Path, full: bool, device: str = "cpu") -> Any:
    """Load upstream's model from a checkpoint."""
    with checkpoints.sized(full):
        from chatterbox.tts import ChatterboxTTS

        return ChatterboxTTS.from_local(folder, device)


def compare(
    report: Report, name: str, model: Any, most: int, clock: Callable[[], float], sizes: tuple[int, ...] = SIZES
) -> None:
    """Measure in rounds; a row for each number of chunks.

    Args:
        most: tokens of each chunk; decoding is timed without the prompts.
        clock: returns seconds after all work so far is done.
    """
    from benchmarks import timing

    ours: dict[int, list[timing.Decoding]] = {size: [] for size in sizes}
    theirs: list[timing.Decoding] = []
    floors = []
    for nth in range(ROUNDS):
        progress(f"{name}, round {nth + 1}")
        theirs.append(timing.upstream(model, most, clock))
        floors.append(timing.floor_s(model, clock))
        for size in sizes:
            ours[size].append(timing.batched(model, size, most, clock))
    wanted = {"tiny": {8: 5.0}, "full-size": {8: 3.0, 1: 1.0}}.get(name, {})
    rows: list[tuple[object, ...]] = []
    rate = median([one.per_s for one in theirs])
    floor = median(floors)
    rows.append((f"{name}, upstream, 1 chunk", f"{1000 / rate:.1f}", f"{rate:.1f}", "1.00", f"{rate * floor:.2f}", ""))
    for size in sizes:
        times = median([mine.per_s / their.per_s for mine, their in zip(ours[size], theirs, strict=True)])
        rate = median([mine.per_s for mine in ours[size]])
        same = sum(a == b for a, b in zip(ours[size][-1].tokens, theirs[-1].tokens, strict=False))
        rows.append(
            (
                f"{name}, voxgate, {size} at a time",
                f"{1000 * size / rate:.1f}",
                f"{rate:.1f}",
                f"{times:.2f}",
                f"{rate / size * floor:.2f}",
                f"{same} of {min(size, len(theirs[-1].tokens))}",
            )
        )
        if size in wanted:
            report.target(f"{name}, {size} at a time, rate of upstream's", times, wanted[size], at_least=True)
    report.table(
        ("", "ms a step", "tokens/s", "of upstream's", "floor's share", "chunks with upstream's tokens"),
        rows,
        f"{most} tokens a chunk, prompts read before. The floor is the time of one pass of two rows through the same "
        f"matrices and nothing else, {1000 * floor:.1f} ms here; its share says how much of a step it is.",
    )


def agreement(report: Report, name: str, model: Any, most: int) -> None:
    """Measure the number of tokens until bf16 differs from fp32, with the same random numbers."""
    import torch

    from benchmarks import timing

    exact = timing.batched(model, 8, most, timing.cpu).tokens
    rounded = timing.batched(model, 8, most, timing.cpu, dtype=torch.bfloat16).tokens
    first = [
        next((n for n, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), most)
        for left, right in zip(exact, rounded, strict=True)
    ]
    report.table(
        (f"{name}, bf16 beside fp32, 8 chunks of {most} tokens", ""),
        [
            ("tokens before the first that differs, median and least", f"{median(first):.0f} and {min(first)}"),
            ("chunks with the very same tokens", f"{sum(n == most for n in first)} of 8"),
        ],
        "Random weights leave many tokens about as likely as the next; a trained model is surer of what it says.",
    )


if __name__ == "__main__":
    main()
