"""The example is a package of its own: installed with pip, found by its metadata, hosted like any backend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SPEAK = """
import asyncio, json
from types import SimpleNamespace
from pathlib import Path
from support.hosting import order, outcome
from support.posting import post
from backends.testing.conformance import check
from gateway.clock import SystemClock
from gateway.engines.registry import Engines
import msgspec

async def main():
    settings = SimpleNamespace(
        plugins=("morse",), backends={"morse": {"pitch_hz": "700", "workers": 1}}, origins={},
        models_dir=Path("models"), device="auto", hf_token=None,
    )
    engines = Engines(settings, post, SystemClock())
    info = next(info for info in engines.infos if info.name == "morse")
    morse = engines.get("morse")
    asked = msgspec.structs.replace(order("SOS", words_per_minute=12), voice=morse.voices[0])
    take = await outcome(morse.host.submit(asked))
    await engines.stop(1)
    from voxgate_morse import MorseBackend
    failed = [finding.check + ": " + finding.detail for finding in check(MorseBackend) if not finding.ok]
    print(json.dumps([info.distribution, info.version, take.samples, take.rate, failed]))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The example in a folder of its own; the working tree stays clean of build files."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for file in (ROOT / "examples/plugin").iterdir():
        if file.is_file():
            (source / file.name).write_bytes(file.read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
         "--disable-pip-version-check", "--target", str(target), str(source)],
        check=True,
    )  # fmt: skip
    return target


def test_a_third_party_package_is_found_speaks_and_keeps_the_contract(installed: Path, tmp_path: Path):
    path = os.pathsep.join([str(installed), str(ROOT), str(ROOT / "tests")])
    done = subprocess.run(
        [sys.executable, "-c", SPEAK],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    distribution, version, samples, rate, failed = json.loads(done.stdout.splitlines()[-1])  # log lines come before it
    assert (distribution, version, rate, failed) == ("voxgate-morse", "1.0", 16_000, [])
    dot = 0.1  # seconds at 12 words per minute; SOS is 27 dots long
    assert abs(samples / rate - 27 * dot) < 0.01


def test_the_example_stays_short(installed: Path):
    lines = (ROOT / "examples/plugin/voxgate_morse.py").read_text().splitlines()
    assert len(lines) <= 75
