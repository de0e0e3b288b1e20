"""Measures the stages of one chunk by Chatterbox with full-size weights, upstream's and ours, and their sum.

Needs Chatterbox and 15 minutes: `.venv-chatterbox/bin/python -m benchmarks chatterbox_parts`.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import checkpoints
from benchmarks.chatterbox_text import TOKENS
from benchmarks.chatterbox_tokens import load
from benchmarks.report import Report, median, progress

STEPS = 24
"""Steps of the token decoders that are timed."""

ROUNDS = 3
AT_A_TIME = 8


def main(scale: float = 1.0) -> None:
    """Measure in rounds, with one PyTorch thread. `scale` is ignored: a chunk always has all its stages."""
    import torch

    from backends.chatterbox.draws import Draws
    from backends.chatterbox.s3gen import Speech, decode_mels, vocode
    from benchmarks import timing

    torch.set_num_threads(1)
    report = Report("chatterbox_parts", f"Chatterbox, full-size weights: the parts of a chunk of {TOKENS} tokens")
    with tempfile.TemporaryDirectory(prefix="voxgate-bench-") as folder:
        progress("making a full-size checkpoint")
        model = load(checkpoints.make_english(Path(folder), eos_at=None, full=True), True)
    found: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    s3gen, gen = model.s3gen, model.conds.gen
    tokens = torch.randint(0, 6561, (TOKENS,), generator=torch.Generator().manual_seed(5))
    for nth in range(ROUNDS):
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
        f"Token decoders timed over {STEPS} steps and multiplied; medians of {ROUNDS} rounds in turn. Both mel "
        f"decoders gave {'the same' if torch.equal(theirs[0], mel) else 'different'} mels.",
    )
    ratio = rows[-1][1] / rows[-1][2]
    report.target("a long text, times upstream's generate(), CPU, calculated of its parts", ratio, 1.35, at_least=True)
    report.write()


def _spent(function: Callable[[], Any]) -> tuple[Any, float]:
    """Return the function's result, and the CPU seconds it took."""
    began = time.process_time()
    return function(), time.process_time() - began


if __name__ == "__main__":
    main()
