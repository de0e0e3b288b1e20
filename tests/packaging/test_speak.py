"""`make speak`: what a newcomer runs first, in an empty home."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
from support.wheels import copy_of_the_tree

pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the tree whose .venv is this one, fresh in the eyes of make: nothing is installed."""
    folder = copy_of_the_tree(tmp_path / "voxgate")
    (folder / ".venv").mkdir()
    for part in Path(sys.prefix).iterdir():
        if not part.name.startswith(".stamp"):
            (folder / ".venv" / part.name).symlink_to(part)
    (folder / ".venv" / ".stamp-runtime").touch()
    return folder


def _with_home(home: Path) -> list[int]:
    """Processes that were started with this HOME."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
        except OSError:  # gone meanwhile, or somebody else's
            continue
        if f"HOME={home}".encode() in variables:
            found.append(int(process.name))
    return found


def test_it_says_what_it_spoke_writes_it_and_leaves_nothing_else(checkout: Path, tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    before = {path.relative_to(checkout) for path in checkout.iterdir()}
    # Settings of the machine are left aside: with this one no backend would be there to speak.
    settings = {"VOXGATE_PLUGINS": "scripted", "VOXGATE_DATA_DIR": str(tmp_path / "data")}
    done = subprocess.run(
        ["make", "speak"],
        cwd=checkout,
        env={**os.environ, **settings, "HOME": str(home), "TMPDIR": str(temporary), "MAKEFLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    first, second = done.stdout.split("the same request again")
    jobs = [re.search(r"job +(\S+) +COMPLETED", part) for part in (first, second)]
    assert all(jobs) and jobs[0][1] != jobs[1][1]
    for part in (first, second):
        assert re.search(r"backend +hibari, voice \w+", part)
    seconds = [float(re.search(r"duration +([\d.]+) s of speech", part)[1]) for part in (first, second)]
    assert seconds[0] == seconds[1]
    spoken, factor = map(float, re.search(r"spoken +in ([\d.]+) s, real-time factor ([\d.]+)", first).groups())
    assert abs(spoken / seconds[0] - factor) < 0.01
    assert re.search(r"cache +hit: answered in \d+ ms, nothing was spoken", second)
    assert "cache " not in first and "real-time" not in second
    assert "make serve" in second and "curl" in second

    pcm, rate = soundfile.read(checkout / "hello.mp3")
    assert rate == 24_000
    assert abs(len(pcm) / rate - seconds[0]) < 0.01
    assert abs(pcm).max() > 0.05
    assert f"{(checkout / 'hello.mp3').stat().st_size:,} bytes" in first

    assert {path.relative_to(checkout) for path in checkout.iterdir()} - before == {Path("hello.mp3")}
    # onnxruntime leaves a number of its own there, even when it is told to report to nobody, and nothing elsewhere.
    assert {path.name for path in temporary.iterdir()} <= {".ses"}
    assert list(home.iterdir()) == []
    assert not (tmp_path / "data").exists()
    end = time.monotonic() + 30
    while left := _with_home(home):
        assert time.monotonic() < end, f"still there: {left}"
        time.sleep(0.1)
