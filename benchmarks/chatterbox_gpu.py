"""Measures Chatterbox on a CUDA GPU beside upstream's `generate()` and the bound set by memory bandwidth.

    python -m benchmarks.chatterbox_gpu [--tokens 250] [--batches 1,2,4,8,16,32] [--device cuda] [--tiny]

needs the extra `chatterbox`, a CUDA PyTorch (`make env GPU=1`), 4 GB of disk and 10 GB of GPU memory. No weights are
fetched: it makes random full-size ones that end every chunk after `--tokens` tokens. Speed does not depend on weights'
values. `--device cpu --tiny` runs the same steps anywhere, to check the program; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")

from backends.interface import BackendUnavailable
from benchmarks import checkpoints
from benchmarks.report import Report, machine, progress

TOKENS_PER_S = 25
VENDOR_GB_PER_S = {
    "T4": 300, "L4": 300, "A10": 600, "A100": 2039, "A6000": 768, "L40": 864, "H100": 3350, "H200": 4800,
    "RTX 3090": 936, "RTX 4090": 1008, "RTX 5090": 1792,
}  # fmt: skip
"""Memory bandwidth stated by the vendor for the fastest variant; read 2026-11-22."""


def main() -> None:
    """Measure, print, and write `results/chatterbox_gpu.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chatterbox_gpu")
    parser.add_argument("--tokens", type=int, default=250, help="speech tokens of each chunk; 250 are ten seconds")
    parser.add_argument("--batches", default="1,2,4,8,16,32", help="chunks at a time")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small weights, to try the program itself")
    chosen = parser.parse_args()
    sizes = tuple(int(size) for size in chosen.batches.split(","))
    try:
        run(chosen.device, sizes, chosen.tokens, full=not chosen.tiny)
    except BackendUnavailable as error:
        sys.exit(f"{error.reason}; `--device cpu --tiny` runs the same steps anywhere, to see that they work")
    except ImportError as error:
        sys.exit(f"Chatterbox cannot be imported: {error}; `make env GPU=1` installs it")


def run(device_name: str, sizes: tuple[int, ...], tokens: int, *, full: bool) -> Report:
    """Run all measurements.

    Raises:
        BackendUnavailable: the device does not exist.
    """
    from backends.chatterbox import compat, device

    compat.prepare()
    chosen = device.choose_device(device_name)
    device.fix_arithmetic(False)
    name = _device_name(chosen)
    report = Report("chatterbox_gpu", f"Chatterbox on {name}: {tokens} tokens a chunk, random weights")
    print(f"{machine()}; {name}; PyTorch {_torch().__version__}\n")
    if not full:
        print("Tiny weights: these figures only show that the program works.\n")
    clock = _clock(chosen)
    with tempfile.TemporaryDirectory(prefix="voxgate-bench-") as folder:
        progress("making a checkpoint")
        checkpoint = checkpoints.make_english(Path(folder), eos_at=tokens, full=full)
        progress("loading it")
        from benchmarks.chatterbox_tokens import load

        model = load(checkpoint, full, str(chosen))
        _tokens(report, model, sizes, tokens, chosen, clock)
        _whole(report, model, sizes, tokens, clock)
    report.write()
    return report


def _tokens(
    report: Report, model: Any, sizes: tuple[int, ...], tokens: int, device: Any, clock: Callable[[], float]
) -> None:
    """Measure the token decoder alone, fp32 and bf16, beside upstream's loop and the bandwidth bound."""
    from benchmarks import timing

    torch = _torch()
    progress("upstream's token loop")
    theirs = timing.upstream(model, tokens, clock, compared=2)
    gb_per_s = bandwidth(device, clock)
    rows: list[tuple[object, ...]] = [("upstream, fp32", 1, f"{theirs.per_s:.0f}", "1.00", "", "")]
    parameters = 0
    for dtype, name in ((torch.float32, "fp32"), (torch.bfloat16, "bf16")):
        for size in sizes:
            progress(f"{name}, {size} at a time")
            try:
                ours = timing.batched(model, size, tokens, clock, dtype=dtype)
            except torch.OutOfMemoryError:
                rows.append((f"voxgate, {name}", size, "out of memory", "", "", ""))
                break
            parameters = parameters or _parameters(model)
            at_most = floor_per_s(parameters, size, tokens, dtype.itemsize, gb_per_s, model)
            same = sum(a == b for a, b in zip(ours.tokens, theirs.tokens, strict=False))
            rows.append(
                (
                    f"voxgate, {name}",
                    size,
                    f"{ours.per_s:.0f}",
                    f"{ours.per_s / theirs.per_s:.2f}",
                    f"{ours.per_s / at_most:.2f}",
                    f"{same} of {min(size, len(theirs.tokens))}",
                )
            )
    report.table(
        ("token decoder", "chunks", "tokens/s", "times upstream's", "of the floor", "chunks with upstream's tokens"),
        rows,
        f"The floor: weights once a step and keys and values of each chunk, at {gb_per_s:.0f} GB/s "
        f"({_whence(device)}); 25 tokens are a second of speech.",
    )


def _whole(report: Report, model: Any, sizes: tuple[int, ...], tokens: int, clock: Callable[[], float]) -> None:
    """Measure text to watermarked samples: the engine beside `generate()`, in seconds of speech per second."""
    import itertools

    from backends.chatterbox import ChatterboxOptions, ChatterboxSettings
    from backends.chatterbox.device import choose_dtype
    from backends.chatterbox.engine import FastEngine
    from backends.chatterbox.models import MODELS
    from backends.interface import Chunk, Voice
    from backends.testing.feeds import KitFeed
    from benchmarks import texts

    torch = _torch()
    said = [" ".join(itertools.islice(texts.sentences(3 + n), 3)) for n in range(2 * max(sizes))]
    conds = model.conds

    def upstream(text: str, seed: int) -> int:
        model.conds = type(conds)(conds.t3, dict(conds.gen))
        torch.manual_seed(seed)
        with torch.inference_mode():
            samples: int = model.generate(text).shape[-1]
        model.conds = conds
        return samples

    progress("upstream's generate()")
    upstream(said[0], 0)
    began = clock()
    samples = sum(upstream(text, nth) for nth, text in enumerate(said[:3]))
    base = samples / model.sr / (clock() - began)
    rows: list[tuple[object, ...]] = [("upstream's generate()", 1, f"{base:.2f}", "1.00", "")]
    voice = Voice("default", ("en",), "builtin")
    for preset in ("faithful", "fast"):
        for size in sizes:
            progress(f"engine, preset {preset}, {size} slots")
            settings = ChatterboxSettings(slots=size, preset=preset)
            engine = FastEngine(
                model, MODELS["english"], settings, dtype=choose_dtype(settings, torch.device(model.device)), threads=4
            )
            chunks = [Chunk(n, text, voice, "en", n, ChatterboxOptions()) for n, text in enumerate(said[: 2 * size])]
            list(engine.synthesize(KitFeed(chunks[:size], set())))  # warm
            began, first_s, samples = clock(), 0.0, 0
            for event in engine.synthesize(KitFeed(chunks, set())):
                first_s = first_s or clock() - began
                samples += len(getattr(event, "pcm", ()))
            rate = samples / model.sr / (clock() - began)
            engine.close()
            rows.append((f"voxgate, {preset}", size, f"{rate:.2f}", f"{rate / base:.2f}", f"{1000 * first_s:.0f}"))
    report.table(
        ("text to samples", "slots", "times real time", "times upstream's", "first take ms"),
        rows,
        f"Twice as many chunks as slots, {tokens / TOKENS_PER_S:g} s each; on a GPU tokens in bf16, mels in fp32.",
    )


def floor_per_s(parameters: int, chunks: int, tokens: int, item_bytes: int, gb_per_s: float, model: Any) -> float:
    """Return the tokens per second of all chunks together if only memory bandwidth limited them.

    A step reads every weight once, and the keys and values so far of each chunk's two rows (half of `tokens`, and about
    a hundred positions of prompt).
    """
    config = model.t3.tfmr.config
    positions = 100 + tokens / 2
    kv = 2 * 2 * config.num_hidden_layers * config.hidden_size * positions * item_bytes
    return chunks * gb_per_s * 1e9 / (parameters * item_bytes + chunks * kv)


def bandwidth(device: Any, clock: Callable[[], float]) -> float:
    """Return GB/s of the device's memory: the vendor's figure for a known name, else measured by a copy."""
    name = _device_name(device)
    for known in sorted(VENDOR_GB_PER_S, key=len, reverse=True):
        if known in name:
            return float(VENDOR_GB_PER_S[known])
    torch = _torch()
    data = torch.empty(64_000_000 if device.type == "cuda" else 8_000_000, device=device)
    target = torch.empty_like(data)
    best = float("inf")
    for _ in range(5):
        began = clock()
        target.copy_(data)
        best = min(best, clock() - began)
    return 2 * data.numel() * 4 / best / 1e9


def _whence(device: Any) -> str:
    known = any(name in _device_name(device) for name in VENDOR_GB_PER_S)
    return "the vendor's figure" if known else "measured by a copy"


def _parameters(model: Any) -> int:
    return (
        sum(weight.numel() for layer in model.t3.tfmr.layers for weight in layer.parameters())
        + model.t3.speech_head.weight.numel()
    )


def _device_name(device: Any) -> str:
    name: str = _torch().cuda.get_device_name(device) if device.type == "cuda" else "the CPU"
    return name


def _clock(device: Any) -> Callable[[], float]:
    from benchmarks import timing

    return timing.wall_on_device if device.type == "cuda" else time.perf_counter


def _torch() -> Any:
    import torch

    return torch


if __name__ == "__main__":
    main()
