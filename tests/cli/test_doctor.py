"""The doctor finds what stops a server, in a line with its cure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.command import command
from support.disks import disk

SHARED = {"VOXGATE_DATABASE__URL": "postgresql://voxgate:hush@127.0.0.1:1/voxgate", "VOXGATE_PORT": "0"}


def findings(folder: Path, changes: dict[str, str]) -> dict[str, list[str]]:
    """The words of what the doctor found, by level."""
    done = command(["doctor", "--json"], folder, changes)
    assert "Traceback" not in done.stderr
    found: dict[str, list[str]] = {"ok": [], "warning": [], "problem": []}
    for each in json.loads(done.stdout):
        found[each["level"]].append(f"{each['about']}: {each['words']}")
    assert done.returncode == (2 if found["problem"] else 0)
    return found


@pytest.mark.parametrize(
    "driver",
    [
        "raise ModuleNotFoundError(\"No module named 'psycopg'\")",
        "raise ImportError('no pq wrapper available.\\n- ctypes')",
    ],
    ids=["absent", "without its library"],
)
def test_postgresql_without_a_driver_that_works_is_a_problem_with_its_cure(tmp_path: Path, driver: str) -> None:
    """The driver stands before the installed one, as an environment without it would have it."""
    (tmp_path / "psycopg.py").write_text(driver)
    changes = {**SHARED, "PYTHONPATH": str(tmp_path)}
    (problem,) = findings(tmp_path, changes)["problem"]
    assert "VOXGATE_DATABASE__URL needs the PostgreSQL driver" in problem
    assert "pip install 'voxgate[postgres]'" in problem
    for arguments in (["doctor"], ["serve"], ["keys", "list"]):
        done = command(arguments, tmp_path, changes)
        assert done.returncode == 2
        assert "voxgate[postgres]" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "url", ["postgresql://db:port/voxgate", "mysql://db/voxgate", "postgres://db/voxgate", "nonsense"]
)
def test_a_url_of_no_database_is_a_problem_of_the_doctor_and_of_every_command(tmp_path: Path, url: str) -> None:
    changes = {**SHARED, "VOXGATE_DATABASE__URL": url}
    assert any("VOXGATE_DATABASE__URL" in problem for problem in findings(tmp_path, changes)["problem"])
    listed = command(["keys", "list"], tmp_path, changes)
    assert (listed.returncode, len(listed.stderr.splitlines())) == (2, 1)
    assert "VOXGATE_DATABASE__URL" in listed.stderr


def test_a_full_disk_is_a_problem_whose_cure_is_space(tmp_path: Path) -> None:
    with disk(tmp_path / "data") as small:
        small.fill()
        problems = findings(tmp_path, {"VOXGATE_PORT": "0"})["problem"]
        assert any("free some space: 0 bytes free in " in problem for problem in problems)
        assert not any("may write" in problem for problem in problems)
        refused = command(["keys", "list"], tmp_path)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
        assert f"free some space: 0 bytes free in {small.path}" in refused.stderr


@pytest.mark.parametrize("which", ["VOXGATE_DATA_DIR", "VOXGATE_CACHE_DIR"])
def test_a_disk_with_less_room_than_the_server_needs_is_a_problem(tmp_path: Path, which: str) -> None:
    with disk(tmp_path / "disk") as small:
        changes = {"VOXGATE_PORT": "0", which: str(small.path / "in"), "VOXGATE_MIN_FREE_BYTES": "50000000"}
        (problem,) = findings(tmp_path, changes)["problem"]
        assert problem.startswith("space: free some space: ")
        assert f"bytes free in {small.path}" in problem
        assert "at least 50000000 are needed (VOXGATE_MIN_FREE_BYTES)" in problem
        assert findings(tmp_path, {**changes, "VOXGATE_MIN_FREE_BYTES": "1000"})["problem"] == []
