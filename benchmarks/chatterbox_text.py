"""A text of twenty chunks by Chatterbox: our engine and the whole gateway beside upstream's `generate()`.

Runs where Chatterbox is installed: `.venv-chatterbox/bin/python -m benchmarks chatterbox_text`. The weights are tiny.
With `VOXGATE_BENCH_FULL=1` the parts of one chunk are measured with full-size ones instead (a quarter of an hour), and
what they come to for a long text is calculated: all of it would take hours on a CPU.
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
"""Speech tokens of a chunk, 10 s: the end is baked into the weights."""

ROUNDS = 3

STEPS = 24
"""Of the token decoders, with full-size weights."""

PART_ROUNDS = 3

AT_A_TIME = 8

Run: TypeAlias = tuple[float, float, list[Any]]
"""CPU seconds, wall seconds, the takes."""


def main(scale: float = 1.0) -> None:
    """Measure; one thread for PyTorch everywhere."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    import torch

    torch.set_num_threads(1)
    if os.environ.get("VOXGATE_BENCH_FULL") == "1":
        _parts()
        return
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


def _parts() -> None:
    """Each stage of one chunk of TOKENS tokens with full-size weights, by upstream and by us; what they come to."""
    import torch

    from backends.chatterbox.draws import Draws
    from backends.chatterbox.s3gen import Speech, decode_mels, vocode
    from benchmarks import timing

    report = Report("chatterbox_text_full", f"Chatterbox, full-size weights: the parts of a chunk of {TOKENS} tokens")
    with tempfile.TemporaryDirectory(prefix="voxgate-bench-") as folder:
        progress("making a full-size checkpoint")
        model = load(checkpoints.make_english(Path(folder), eos_at=None, full=True), True)
    found: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    s3gen, gen = model.s3gen, model.conds.gen
    tokens = torch.randint(0, 6561, (TOKENS,), generator=torch.Generator().manual_seed(5))
    for nth in range(PART_ROUNDS):
        progress(f"round {nth + 1}")
        alone = timing.upstream(model, STEPS, timing.cpu, compared=1).per_s
        together = timing.batched(model, AT_A_TIME, STEPS, timing.cpu).per_s
        found[f"T3, {AT_A_TIME} chunks at a time"].append((TOKENS / alone, TOKENS / together))
        with torch.inference_mode():
            torch.manual_seed(0)
            theirs, their_s = _spent(lambda: s3gen.flow_inference(tokens[None], ref_dict=gen, finalize=True))
            speech = Speech(0, tokens, dict(gen), Draws(0, torch.device("cpu")))
            (mel,), our_s = _spent(lambda speech=speech: decode_mels(s3gen, [speech]))
            found["flow"].append((their_s, our_s))
            (wave, _), their_s = _spent(lambda theirs=theirs: s3gen.hift_inference(theirs))
            _, our_s = _spent(lambda mel=mel: vocode(s3gen, mel, Draws(0, torch.device("cpu"))))
            found["vocoder"].append((their_s, our_s))
            pcm = wave[0].numpy()
            _, both_s = _spent(lambda pcm=pcm: model.watermarker.apply_watermark(pcm, sample_rate=model.sr))
            found["watermark"].append((both_s, both_s))
    rows = [(name, *(median([one[side] for one in times]) for side in (0, 1))) for name, times in found.items()]
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    report.table(
        ("stage of one chunk", "upstream, CPU s", "voxgate, CPU s", "times upstream's"),
        [(name, f"{their:.1f}", f"{our:.1f}", f"{their / our:.2f}") for name, their, our in rows],
        f"Token decoders timed over {STEPS} steps and multiplied; medians of {PART_ROUNDS} rounds in turn. Both mel "
        f"decoders gave {'the same' if torch.equal(theirs[0], mel) else 'different'} mels.",
    )
    ratio = rows[-1][1] / rows[-1][2]
    report.target("a long text, times upstream's generate(), CPU, calculated of its parts", ratio, 1.35, at_least=True)
    report.write()


def _spent(function: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and the CPU seconds it takes."""
    began = time.process_time()
    return function(), time.process_time() - began


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
    """The same as one job: a paragraph each, so that chunks are the same. CPU of the server beside its worker's."""
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
