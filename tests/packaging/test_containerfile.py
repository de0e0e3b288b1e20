from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.settings import describe

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "deploy" / "Containerfile").read_text()


def copied() -> list[str]:
    """Return the paths that the Containerfile copies into the image."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", TEXT, re.M)
    return [source for line in lines for source in line.split()[:-1]]


def test_every_file_the_image_is_built_from_is_there() -> None:
    for source in copied():
        assert (ROOT / source).exists(), source
    ignored = (ROOT / ".containerignore").read_text().split()
    assert not set(copied()) & set(ignored)


def test_its_environment_names_real_settings() -> None:
    known = {doc.env for doc in describe()}
    named = set(re.findall(r"(VOXGATE_[A-Z_]+)=", TEXT)) - {"VOXGATE_API_KEY"}
    assert named
    assert named <= known


@pytest.mark.slow
def test_what_it_copies_is_enough_to_build_and_the_wheel_holds_every_room(tmp_path: Path) -> None:
    for source in copied():
        target = tmp_path / "src" / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, target)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), "."]
    subprocess.run(command, cwd=tmp_path / "src", check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("voxgate-*.whl")
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", str(wheel)], check=True, capture_output=True, text=True
    )
    for name in ("gateway/app.py", "gateway/web/static/index.html", "migrations/versions/0001", "backends/hibari"):
        assert name in listed.stdout, name
