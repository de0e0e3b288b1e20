"""The example is a package of its own: installed with pip beside a gateway that nobody changed, it speaks its jobs."""

from __future__ import annotations

import base64
import io
import json
import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from support.command import Served, serving_command
from support.wheels import OUTSIDE, ROOT, Installed

pytestmark = pytest.mark.slow

GUARD_S = 120


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """voxgate from its wheel, and the example with pip; the working tree stays clean of build files."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(ROOT / "examples/plugin", folder / "source")
    environment = Installed(folder / "env", wheel)
    environment.pip("install", "--no-build-isolation", str(source))
    return environment


def _job(server: Served, **request: Any) -> dict[str, Any]:
    """Submit a job with `/run`, then poll `/status` until it ends, as RunPod's clients do."""
    with httpx.Client(
        base_url=server.url, headers={"Authorization": f"Bearer {server.key}"}, timeout=60, trust_env=False
    ) as client:
        job = client.post("/run", json={"input": request}).raise_for_status().json()
        end = time.monotonic() + GUARD_S
        while not {"output", "error"} & set(job):
            assert time.monotonic() < end, job
            time.sleep(0.05)
            job = client.get(f"/status/{job['id']}").raise_for_status().json()
        return dict(job)


def test_it_speaks_jobs_of_a_gateway_that_nobody_changed(installed: Installed, tmp_path: Path) -> None:
    request = {"text": "SOS", "format": "wav", "backend": "morse", "options": {"words_per_minute": 12}}
    settings = OUTSIDE | {"VOXGATE_BACKENDS__MORSE__PITCH_HZ": "700"}
    with serving_command([str(installed.voxgate)], tmp_path, settings) as server:
        job = _job(server, **request)
        again = _job(server, **request)
        refused = _job(server, **request | {"options": {"words_per_hour": 700}})
        unsaid = _job(server, text="Hello.", format="wav")
    assert job["status"] == "COMPLETED", job
    output = job["output"]
    assert (output["backend"], output["voice"], output["sample_rate"]) == ("morse", "key", 16_000)
    pcm, rate = soundfile.read(io.BytesIO(base64.b64decode(output["audio_base64"])))
    dot = 0.1  # seconds at 12 words per minute; SOS is 27 dots long
    assert rate == 16_000
    assert abs(len(pcm) / rate - 27 * dot) < 0.01
    assert abs(np.argmax(np.abs(np.fft.rfft(pcm))) * rate / len(pcm) - 700) < 5
    dots = np.abs(pcm[: int(26.9 * dot * rate)]).reshape(-1, int(dot * rate) // 10)[5::10].max(axis=1) > 0.1
    assert "".join("-" if on else " " for on in dots).split() == "- - - --- --- --- - - -".split()
    assert again["output"]["cache_hit"] is True
    assert refused["status"] == "FAILED" and "words_per_minute" in refused["error"]
    assert unsaid["output"]["backend"] == "hibari", "a request that names no backend is spoken as before"


def test_it_is_listed_with_the_package_it_came_from_and_keeps_the_contract(
    installed: Installed, tmp_path: Path
) -> None:
    environment = {"VOXGATE_DATA_DIR": str(tmp_path / "data")}
    listed = json.loads(
        installed.run(installed.voxgate, "backends", "list", "--json", cwd=tmp_path, **environment).stdout
    )
    (row,) = [row for row in listed if row["name"] == "morse"]
    assert (row["state"], row["distribution"], row["version"]) == ("found", "voxgate-morse", "1.0")
    kept = installed.run(installed.voxgate, "backends", "test", "morse", cwd=tmp_path, **environment).stdout
    assert "FAILED" not in kept and kept.strip().endswith("checks hold for morse")


def test_the_example_stays_short() -> None:
    lines = (ROOT / "examples/plugin/voxgate_morse.py").read_text().splitlines()
    assert len(lines) <= 75
