"""Chatterbox can be imported with a torchaudio without its extension, and without pkg_resources."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def in_a_fresh_interpreter(code: str) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, cwd=ROOT, timeout=300)


def test_the_watermarker_is_there_without_pkg_resources() -> None:
    in_a_fresh_interpreter("""
import sys
sys.modules["pkg_resources"] = None  # as where setuptools is 81 or absent
from backends.chatterbox import compat
compat.prepare()
import perth
assert perth.PerthImplicitWatermarker()
""")


def test_torchaudio_imports_without_its_native_extension_and_resamples() -> None:
    in_a_fresh_interpreter("""
import ctypes, torch
def fails(path): raise OSError("libcudart.so.13: cannot open shared object file")
torch.ops.load_library = fails
from backends.chatterbox import compat
compat.prepare()
compat.prepare()
import torchaudio
assert torchaudio.transforms.Resample(24000, 16000)(torch.zeros(1, 2400)).shape == (1, 1600)
""")


def test_progress_bars_stay_out_of_the_log() -> None:
    in_a_fresh_interpreter("""
import contextlib, io
from backends.chatterbox import compat
compat.prepare()
from tqdm import tqdm
with contextlib.redirect_stderr(io.StringIO()) as said:
    list(tqdm(range(3)))
assert said.getvalue() == ""
""")
