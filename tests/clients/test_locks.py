"""The locks of the clients hold names, versions and hashes, and nothing about the machine they were made on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["clients", "clients-tools", "fuzz"])
def test_every_python_package_is_pinned_and_hashed(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    blocks = [block for block in re.split(r"\n(?=[A-Za-z0-9])", text) if not block.lstrip().startswith("#")]
    assert blocks
    for block in blocks:
        assert re.match(r"[a-z0-9._-]+==\S+", block) and "--hash=sha256:" in block, block[:80]
    assert not re.search(r"://|index-url|find-links|file:/|(^|\s)/[a-z]", text)


@pytest.mark.parametrize("folder", ["tests/clients", "examples/guide"])
def test_every_javascript_package_is_pinned_by_its_hash_and_names_no_host(folder: str) -> None:
    text = (ROOT / folder / "package-lock.json").read_text()
    packages = {name: package for name, package in json.loads(text)["packages"].items() if name}
    assert packages
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
    assert '"resolved"' not in text and "file:" not in text
