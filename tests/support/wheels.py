"""Makes copies of the tree, its wheel, and environments outside the checkout with that wheel installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {"PYTHONPATH": ""}
"""Variables for commands of such an environment, which must not import the checkout."""


def copy_of_the_tree(folder: Path) -> Path:
    """Copy the tree without its ignored files."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def make_wheel(folder: Path) -> Path:
    """Build the wheel from a copy of the tree, so that no build files are left in the tree."""
    source = copy_of_the_tree(folder / "source")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), "."],
        cwd=source,
        check=True,
    )
    return next(folder.glob("voxgate-*.whl"))


class Installed:
    """A new environment that uses the locked packages of this one and nothing else of it.

    A folder named in a .pth file is searched for imports, but .pth files in it are not read, so the checkout, which is
    an editable install among those packages, cannot be imported.
    """

    def __init__(self, folder: Path, wheel: Path) -> None:
        venv.create(folder)
        self.folder = folder
        self.python = folder / "bin" / "python"
        self.voxgate = folder / "bin" / "voxgate"
        where = self.run(self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
        self.pip("install", "--no-deps", str(wheel))
        (Path(where.stdout.strip()) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")

    def pip(self, *arguments: str) -> None:
        """Run pip for this environment without an index."""
        pip = (sys.executable, "-m", "pip", "--python", str(self.python), "--disable-pip-version-check", "-q")
        self.run(*pip, *arguments, PIP_NO_INDEX="1")

    def run(self, *command: str | Path, cwd: Path | None = None, **changes: str) -> subprocess.CompletedProcess[str]:
        """Run one of its commands; it must succeed."""
        done = subprocess.run(
            command, cwd=cwd, env={**os.environ, **OUTSIDE, **changes}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done
