"""Measures a text of twenty chunks by Chatterbox: our engine and the whole gateway beside upstream's `generate()`.

Needs Chatterbox: `.venv-chatterbox/bin/python -m benchmarks chatterbox_text`. The weights are tiny; with full-size ones
it would take hours on a CPU (see `chatterbox_parts`).
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks import checkpoints, servers, texts
from benchmarks.chatterbox_tokens import load
from benchmarks.processes import cpu_s, family
from benchmarks.report import Report, median, progress

CHUNKS = 20
TOKENS = 250
"""Speech tokens of a chunk, 10 s: the weights are made to end there."""

ROUNDS = 3

Run: TypeAlias = tuple[float, float, list[Any]]
"""CPU seconds, wall seconds, the takes."""


def main(scale: float = 1.0) -> None:
    """Measure with one PyTorch thread."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    import torch

    torch.set_num_threads(1)
    chunks = max(3, round(CHUNKS * scale))
    report = Report("chatterbox_text", f"Chatterbox, tiny weights: {chunks} chunks of {TOKENS} tokens, one thread")
    said = [" ".join(itertools.islice(texts.sentences(3 + nth), 2)) for nth in range(chunks)]
    with tempfile.TemporaryDirectory(prefix="voxgate-bench-") as folder:
        progress("making a tiny checkpoint")
        checkpoint = checkpoints.make_english(Path(folder), eos_at=TOKENS, full=False)
        model = load(checkpoint, False)
        _compare(report, model, said, ROUNDS)
        del model
        _through_the_gateway(report, checkpoint, said)
    report.write()


def _compare(report: Report, model: Any, said: list[str], rounds: int) -> None:
    theirs: list[Run] = []
    ours: list[Run] = []
    fast: list[Run] = []
    shares: defaultdict[str, float] = defaultdict(float)
    same = 0
    for nth in range(rounds):
        progress(f"round {nth + 1}")
        theirs.append(_upstream(model, said))
        ours.append(_engine(model, said, shares))
        fast.append(_engine(model, said, defaultdict(float), preset="fast"))
        same = sum(_equal(a, b) for a, b in zip(theirs[-1][2], ours[-1][2], strict=True))
    rows = [("upstream's generate()", *_seconds(theirs), "1.00", "1.00", "")]
    for name, mine in (("voxgate's engine", ours), ("voxgate's engine, preset fast", fast)):
        times = [median([a[nth] / b[nth] for a, b in zip(theirs, mine, strict=True)]) for nth in (0, 1)]
        bytes_ = f"{same} of {len(said)}" if mine is ours else ""
        rows.append((name, *_seconds(mine), f"{times[0]:.2f}", f"{times[1]:.2f}", bytes_))
    columns = ("", "CPU s", "wall s", "times upstream's, CPU", "times upstream's, wall", "chunks with upstream's bytes")
    report.table(columns, rows)
    whole = sum(one[0] for one in ours)
    shares["rest of the engine"] = whole - sum(shares.values())
    report.table(
        ("stage", "CPU s a chunk", "share %"),
        [(n, f"{s / rounds / len(said):.3f}", f"{100 * s / whole:.1f}") for n, s in shares.items()],
    )
    ratio = median([a[0] / b[0] for a, b in zip(theirs, ours, strict=True)])
    report.target("a long text, times upstream's generate(), CPU", ratio, 1.35, at_least=True)


def _upstream(model: Any, said: list[str]) -> Run:
    import torch

    conds, takes = model.conds, []
    began, cpu = time.perf_counter(), time.process_time()
    for nth, text in enumerate(said):
        model.conds = type(conds)(conds.t3, dict(conds.gen))
        torch.manual_seed(nth)
        with torch.inference_mode():
            takes.append(model.generate(text).squeeze(0).numpy())
    model.conds = conds
    return time.process_time() - cpu, time.perf_counter() - began, takes


def _engine(model: Any, said: list[str], shares: dict[str, float], **settings: Any) -> Run:
    from backends.chatterbox import ChatterboxOptions, ChatterboxSettings
    from backends.chatterbox import engine as module
    from backends.chatterbox.models import MODELS
    from backends.interface import Chunk, Take, Voice
    from backends.testing.feeds import KitFeed

    engine = module.FastEngine(model, MODELS["english"], ChatterboxSettings(**settings))
    voice = Voice("default", ("en",), "builtin")
    chunks = [Chunk(n, text, voice, "en", n, ChatterboxOptions()) for n, text in enumerate(said)]
    plain = module.decode_mels, module.vocode
    decoder: Any = engine._decoder
    marks: Any = engine._watermarks
    decoder.step = _timed(shares, "T3", decoder.step)
    decoder.add = _timed(shares, "T3", decoder.add)
    marks._mark = _timed(shares, "watermark", marks._mark)
    module.decode_mels = _timed(shares, "flow", plain[0])
    module.vocode = _timed(shares, "vocoder", plain[1])
    began, cpu = time.perf_counter(), time.process_time()
    try:
        takes = {event.chunk_id: event for event in engine.synthesize(KitFeed(chunks, set()))}
        spent = time.process_time() - cpu, time.perf_counter() - began
    finally:
        module.decode_mels, module.vocode = plain
        engine.close()
    found = [takes[n] for n in range(len(said))]
    assert all(isinstance(take, Take) for take in found), found
    return *spent, [take.pcm for take in found if isinstance(take, Take)]


def _timed(shares: dict[str, float], stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def timed(*args: Any, **rest: Any) -> Any:
        began = time.thread_time()
        try:
            return function(*args, **rest)
        finally:
            shares[stage] = shares.get(stage, 0.0) + time.thread_time() - began

    return timed


def _through_the_gateway(report: Report, checkpoint: Path, said: list[str]) -> None:
    """Speak the text as one job, a paragraph per chunk so that chunks are equal; compare CPU of server and worker."""
    settings = {
        "VOXGATE_BACKENDS__CHATTERBOX__MODEL_PATH": checkpoint,
        "VOXGATE_BACKENDS__CHATTERBOX__TAKE_CHECKS": "false",
        "VOXGATE_DEVICE": "cpu",
    }
    progress("the same through a gateway")
    with servers.gateway("chatterbox", "benchmarks.tiny", **settings) as server:
        workers = [pid for pid in family(server.pid) if pid != server.pid]
        before = cpu_s(server.pid), sum(cpu_s(pid) for pid in workers)
        began = time.perf_counter()
        job = server.speak("\n\n".join(said), format="mp3", delivery="url", cache="off")
        wall_s = time.perf_counter() - began
        own, theirs = cpu_s(server.pid) - before[0], sum(cpu_s(pid) for pid in workers) - before[1]
    share = own / (own + theirs)
    assert job["output"]["chunks_processed"] == len(said), job["output"]["chunks_processed"]
    report.table(
        ("the same as one job, MP3", "s", "share %"),
        [
            ("CPU of the server: HTTP, SQL, files, MP3", f"{own:.2f}", f"{100 * share:.2f}"),
            ("CPU of the worker", f"{theirs:.2f}", f"{100 * (1 - share):.2f}"),
            ("wall time", f"{wall_s:.2f}", ""),
        ],
    )
    report.target("share of the gateway, %", 100 * share, 2.0)


def _seconds(runs: list[Run]) -> tuple[str, str]:
    return f"{median([run[0] for run in runs]):.1f}", f"{median([run[1] for run in runs]):.1f}"


def _equal(a: Any, b: Any) -> bool:
    return bool(a.shape == b.shape and (a == b).all())


if __name__ == "__main__":
    main()
