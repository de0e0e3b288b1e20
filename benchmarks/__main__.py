"""`make bench`, or `python -m benchmarks [NAME ...] [--scale 0.2]`: every benchmark, one after the other.

Without names: those of Chatterbox where it is installed, the others elsewhere.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import time

from benchmarks.report import busy, machine

NAMES = (
    "hits",
    "sentence",
    "health",
    "long_text",
    "memory",
    "same_bytes",
    "submits",
    "rows",
    "fairness",
    "sweeps",
    "postgres",
    "openai",
    "stream",
    "take_checks",
    "stretch",
    "plan",
)
CHATTERBOX = ("chatterbox_tokens", "chatterbox_text", "chatterbox_memory")
"""Where Chatterbox is installed; see also chatterbox_gpu, which is a program of its own."""
NAMED = ("chatterbox_parts",)
"""There, too, but only where it is named: it takes longer than all others."""
KNOWN = NAMES + CHATTERBOX + NAMED


def main() -> None:
    """Run those named, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(KNOWN)}")
    parser.add_argument(
        "--scale",
        type=float,
        default=float(os.environ.get("VOXGATE_BENCH_SCALE", "1")),
        help="1 takes about ten minutes, 0.2 about two; VOXGATE_BENCH_SCALE says it too",
    )
    chosen = parser.parse_args()
    for name in chosen.names:
        if name not in KNOWN:
            parser.error(f"no benchmark {name!r}: known are {', '.join(KNOWN)}")
    began = time.monotonic()
    print(f"# {machine()}\n\n{time.strftime('%Y-%m-%d %H:%M')}, {busy()}")
    here = CHATTERBOX if importlib.util.find_spec("chatterbox") else NAMES
    for name in chosen.names or here:
        importlib.import_module(f"benchmarks.{name}").main(chosen.scale)
    print(f"\ntook {time.monotonic() - began:.0f} s; {busy()}; JSON in benchmarks/results/")


if __name__ == "__main__":
    main()
