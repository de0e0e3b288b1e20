"""`voxgate backends test`: what a badly behaved plugin does to it is a finding."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from support.command import command

PLUGIN = """
import os, time
from backends.testing.scripted import ScriptedBackend

class Hangs(ScriptedBackend):
    name = "hangs"
    def load(self, progress):
        time.sleep(1000)

class Exits(ScriptedBackend):
    name = "exits"
    def synthesize(self, feed):
        os._exit(7)

class Chats(ScriptedBackend):
    name = "chats"
    def load(self, progress):
        print("a library says hello")
        super().load(progress)
"""


@pytest.fixture
def plugins(tmp_path: Path) -> dict[str, str]:
    """An installed package of bad plugins: what the environment must have for it to be found."""
    place = tmp_path / "site"
    info = place / "badly-1.0.dist-info"
    info.mkdir(parents=True)
    (place / "badly.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: badly\nVersion: 1.0\n")
    names = {"hangs": "badly:Hangs", "exits": "badly:Exits", "chats": "badly:Chats", "absent": "badly:Nobody"}
    lines = [f"{name} = {where}" for name, where in names.items()]
    (info / "entry_points.txt").write_text("\n".join(["[voxgate.backends]", *lines, ""]))
    return {"PYTHONPATH": f"{place}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


def run_kit(name: str, folder: Path, plugins: dict[str, str], *more: str) -> subprocess.CompletedProcess[str]:
    return command(["backends", "test", name, *more], folder, plugins)


def test_a_backend_that_hangs_is_ended_and_the_check_named(tmp_path: Path, plugins: dict[str, str]) -> None:
    done = run_kit("hangs", tmp_path, plugins, "--timeout", "5")
    assert done.returncode == 2
    found = "FAILED  it loads and reports progress: no answer within 5 s (--timeout gives it longer)"
    assert found in done.stdout.splitlines()
    assert "ok      it has voices" in done.stdout.splitlines()


def test_a_backend_that_ends_the_process_is_told_with_how_it_ended(tmp_path: Path, plugins: dict[str, str]) -> None:
    done = run_kit("exits", tmp_path, plugins)
    assert done.returncode == 2
    assert "FAILED  it returns when the feed is closed: it ended the process: exit status 7" in done.stdout.splitlines()


def test_what_a_backend_prints_stays_out_of_the_document(tmp_path: Path, plugins: dict[str, str]) -> None:
    done = run_kit("chats", tmp_path, plugins, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(finding["ok"] for finding in json.loads(done.stdout))
    assert "a library says hello" in done.stderr


def test_a_class_that_is_not_there_is_one_line(tmp_path: Path, plugins: dict[str, str]) -> None:
    done = run_kit("absent", tmp_path, plugins)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "backend absent is broken: AttributeError: " in line
    assert "Nobody" in line


def test_the_list_is_a_document_for_scripts(tmp_path: Path, plugins: dict[str, str]) -> None:
    rows = json.loads(command(["backends", "--json"], tmp_path, plugins).stdout)
    assert {row["name"]: row["state"] for row in rows}["absent"] == "broken"
