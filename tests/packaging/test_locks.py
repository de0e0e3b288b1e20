"""The locks hold names, versions and hashes, and nothing about the machine they were made on."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("runtime.txt", "dev.txt", "chatterbox.txt", "chatterbox-original.txt")


def _pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)==([^ \n\\;]+)", text, re.MULTILINE))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_pinned_and_hashed(lock: str) -> None:
    blocks = re.split(r"\n(?=[A-Za-z0-9])", (ROOT / "requirements" / lock).read_text())
    packages = [block for block in blocks if not block.lstrip().startswith("#")]
    assert packages
    for block in packages:
        assert re.match(r"[a-z0-9._-]+==\S+", block), block[:80]
        assert "--hash=sha256:" in block, block[:80]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_host_and_no_path(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|file:/|@ ", text)
    assert not re.search(r"(^|\s)/[a-z]", text)


def test_the_runtime_lock_holds_every_dependency_and_no_tool_for_tests() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = _pins("runtime.txt")
    for requirement in project["dependencies"]:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        assert name is not None and _normal(name[0]) in pins, requirement
    assert not {"pytest", "mypy", "ruff", "hypothesis", "torch"} & set(pins)


def test_the_dev_lock_holds_the_runtime_lock_at_the_same_versions_and_no_torch() -> None:
    runtime, dev = _pins("runtime.txt"), _pins("dev.txt")
    assert runtime.items() <= dev.items()
    assert "torch" not in dev


def test_the_chatterbox_lock_holds_the_runtime_lock_but_for_setuptools_and_leaves_pytorch_to_the_machine() -> None:
    runtime, chatterbox = _pins("runtime.txt"), _pins("chatterbox.txt")
    assert {name for name in runtime if chatterbox.get(name) != runtime[name]} == {"setuptools"}
    assert int(chatterbox["setuptools"].partition(".")[0]) < 81  # perth imports pkg_resources
    assert not [name for name in chatterbox if re.match(r"(torch|triton|nvidia-.*|cuda-.*)$", name)]
    assert "torch" in _pins("torch.txt")


def test_the_chatterbox_lock_pins_what_the_extra_names() -> None:
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["chatterbox"]
    fork = _pins("chatterbox.txt")["videopython-chatterbox"]
    assert f"videopython-chatterbox=={fork}" in extra
    assert fork.startswith(_pins("chatterbox-original.txt")["chatterbox-tts"])


def test_a_package_whose_private_classes_are_extended_is_bounded_from_above() -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    pinned = _pins("runtime.txt")["uvicorn"]
    minor = int(pinned.split(".")[1])
    assert f"uvicorn>=0.{minor},<0.{minor + 1}" in dependencies


# What is named in a string, not imported: the drivers of the databases and uvicorn's loop and parser.
BY_NAME = {"aiosqlite", "httptools", "uvloop"}


def test_every_package_the_rooms_import_is_a_dependency_and_every_dependency_is_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {_normal(re.match(r"[A-Za-z0-9._-]+", line)[0]) for line in project["dependencies"]}  # type: ignore[index]
    owners = importlib.metadata.packages_distributions()
    used = set()
    for module in _imported():
        used |= {_normal(owner) for owner in owners.get(module, ())} - {"voxgate"}
    optional = project["optional-dependencies"]
    extras = {
        _normal(re.match(r"[A-Za-z0-9._-]+", line)[0])  # type: ignore[index]
        for line in (*optional["postgres"], *optional["codecs"])
    }
    assert used <= declared | extras
    assert declared <= used | BY_NAME


def _imported() -> set[str]:
    """Top-level modules that the rooms import; vendors' and models' packages are their backend's own extra."""
    found = set()
    files = [path for room in ("gateway", "storage", "migrations", "voxgate") for path in (ROOT / room).rglob("*.py")]
    files += [ROOT / "backends" / "interface.py"]
    files += [path for name in ("hibari", "testing") for path in (ROOT / "backends" / name).rglob("*.py")]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                found.add(node.module.partition(".")[0])
    return found
