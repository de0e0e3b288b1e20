"""The GPU benchmark runs all its steps on a CPU too, and computes its lower bound correctly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import chatterbox_gpu, report


def test_every_step_runs_and_every_token_is_upstreams(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    chatterbox_gpu.run("cpu", (1, 2), 16, full=False)
    written = json.loads((tmp_path / "chatterbox_gpu.json").read_text())
    decoder, whole = (table["rows"] for table in written["tables"])
    assert [row[:2] for row in decoder] == [
        ["upstream, fp32", "1"], ["voxgate, fp32", "1"], ["voxgate, fp32", "2"], ["voxgate, bf16", "1"],
        ["voxgate, bf16", "2"],
    ]  # fmt: skip
    assert [row[5] for row in decoder[1:3]] == ["1 of 1", "2 of 2"], "the same weights, the same tokens"
    assert all(float(row[2].replace(",", "")) > 0 for row in decoder)
    assert [row[0] for row in whole] == ["upstream's generate()", *["voxgate, faithful"] * 2, *["voxgate, fast"] * 2]
    assert all(float(row[2]) > 0 for row in whole)


@pytest.mark.parametrize(("chunks", "expected"), [(1, 3095), (8, 17922), (32, 36826)])
def test_the_floor_is_weights_and_keys_over_bandwidth(chunks: int, expected: int) -> None:
    # Computed by hand for an H100: 511.8 million bf16 weights, 0.246 MB for each of 240 positions of a chunk.
    config = SimpleNamespace(num_hidden_layers=30, hidden_size=1024)
    model = SimpleNamespace(t3=SimpleNamespace(tfmr=SimpleNamespace(config=config)))
    found = chatterbox_gpu.floor_per_s(511_800_000, chunks, 280, 2, chatterbox_gpu.VENDOR_GB_PER_S["H100"], model)
    assert found == pytest.approx(expected, rel=0.01)


def test_without_a_gpu_it_says_so_in_a_line() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.chatterbox_gpu"],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("DEVICE is 'cuda', but ") and "--device cpu --tiny" in line
