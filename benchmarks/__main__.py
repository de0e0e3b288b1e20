"""`make bench`, or `python -m benchmarks [NAME ...] [--scale 0.2]`: runs benchmarks, one after the other.

Without names it runs the benchmarks of Chatterbox if that is installed, otherwise all others.
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
    "words",
)
CHATTERBOX = ("chatterbox_tokens", "chatterbox_text", "chatterbox_memory")
"""Benchmarks that need Chatterbox; see also chatterbox_gpu, which is a separate program."""
NAMED = ("chatterbox_parts",)
"""Benchmarks that run only if named; this one needs Chatterbox and takes longer than all others."""
KNOWN = NAMES + CHATTERBOX + NAMED


def main() -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(KNOWN)}")
    parser.add_argument(
        "--scale",
        type=float,
        default=float(os.environ.get("VOXGATE_BENCH_SCALE", "1")),
        help="1 takes about ten minutes, 0.2 about two; default: VOXGATE_BENCH_SCALE",
    )
    chosen = parser.parse_args()
    for name in chosen.names:
        if name not in KNOWN:
            parser.error(f"there is no benchmark {name!r}; known are {', '.join(KNOWN)}")
    began = time.monotonic()
    print(f"# {machine()}\n\n{time.strftime('%Y-%m-%d %H:%M')}, {busy()}")
    here = CHATTERBOX if importlib.util.find_spec("chatterbox") else NAMES
    for name in chosen.names or here:
        importlib.import_module(f"benchmarks.{name}").main(chosen.scale)
    print(f"\ntook {time.monotonic() - began:.0f} s; {busy()}; JSON in benchmarks/results/")


if __name__ == "__main__":
    main()
