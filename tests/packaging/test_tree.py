"""Committed files hold no path of a developer's machine and no host name of a package registry."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Put together here, so that this file does not find itself.
PLACES = re.compile("|".join("/" + place for place in ("work/", r"root\b", r"home/[a-z]", "Users/")))
HOSTS = re.compile("|".join(f"{name}[.]{end}" for name, end in (("pypi", "org"), ("hosted", "org"), ("npmjs", "org"))))


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]


def _found(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in _tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
            for number, line in enumerate(text.splitlines(), 1)
            if pattern.search(line)
        ]
    return found


def test_no_file_holds_a_path_of_somebodys_machine() -> None:
    assert _found(PLACES) == []


def test_no_file_names_the_host_of_a_package_registry() -> None:
    assert _found(HOSTS) == []
