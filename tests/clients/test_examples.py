"""The clients in examples/ end on every end a job can have, and say which it was."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import pytest
from support.clients import CLIENTS, ROOT, tools_first
from support.command import Served
from support.judged import brought_to

PROGRAMS = {
    "speak.py": str(CLIENTS / "bin" / "python"),
    "speak.mjs": str(CLIENTS / "bin" / "node"),
    "speak.sh": "bash",
}
GUARD_S = 60
ALL = pytest.mark.parametrize("name", PROGRAMS)
pytestmark = pytest.mark.slow


def run(server: Served, folder: Path, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"VOXGATE_API_KEY": server.key, "VOXGATE_URL": server.url, "ENDPOINT_ID": "examples"}
    return subprocess.run(
        [PROGRAMS[name], str(ROOT / "examples" / name), *arguments, "out.wav"],
        cwd=folder, env=tools_first(environment), capture_output=True, text=True, check=False, timeout=GUARD_S,
    )  # fmt: skip


@ALL
def test_a_text_becomes_a_file(clients: None, server: Served, tmp_path: Path, name: str) -> None:
    done = run(server, tmp_path, name, 'An "example" speaks, é and all.')
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.wav").read_bytes().startswith(b"RIFF")


@ALL
@pytest.mark.parametrize("state", ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"])
def test_a_job_is_waited_for_to_whatever_end_it_has(
    clients: None, server: Served, http: httpx.Client, tmp_path: Path, name: str, state: str
) -> None:
    done = run(server, tmp_path, name, "--job", brought_to(http, "examples", state))
    assert (done.returncode == 0) == (state == "COMPLETED") == (tmp_path / "out.wav").exists()
    if state != "COMPLETED":
        assert done.stderr.splitlines()[-1].startswith(f"{state}: ")
        assert "Traceback" not in done.stderr


@ALL
def test_a_job_nobody_knows_ends_the_wait(clients: None, server: Served, tmp_path: Path, name: str) -> None:
    done = run(server, tmp_path, name, "--job", "nothing")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("404: job 'nothing' was not found")


@ALL
def test_bad_input_is_said(clients: None, server: Served, tmp_path: Path, name: str) -> None:
    done = run(server, tmp_path, name, "   ")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("FAILED: text")
