"""`make`, and the search for a Python that can build the environment."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ["env", "speak", "serve", "test", "test-original", "test-fast", "lint", "bench", "docs", "soak"]


@pytest.fixture
def path_with(tmp_path: Path):
    """Builds a PATH of nothing but the system's small tools and made-up Pythons."""

    def build(**versions: tuple[tuple[int, int], bool]) -> str:
        for tool in ("sh", "id", "env"):
            target = next(Path(folder) / tool for folder in ("/usr/bin", "/bin") if (Path(folder) / tool).exists())
            (tmp_path / tool).symlink_to(target)
        for name, (version, has_venv) in versions.items():
            fake = tmp_path / name.replace("_", ".")
            fake.write_text(FAKE.format(major=version[0], minor=version[1], venv=0 if has_venv else 1, path=fake))
            fake.chmod(fake.stat().st_mode | stat.S_IEXEC)
        return str(tmp_path)

    return build


FAKE = """#!/bin/sh
case "$2" in
    *"sys.exit(0 if"*) [ {major} = 3 ] && [ {minor} -ge 11 ] && [ {minor} -le 14 ] ;;
    *ensurepip*) exit {venv} ;;
    *sys.executable*) echo {path} ;;
    *version_info*) case "$2" in *Python*) echo "Python {major}.{minor}" ;; *) echo "{major}.{minor}" ;; esac ;;
esac
"""


def _find(path: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", str(ROOT / "scripts" / "find-python")],
        env={"PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_make_alone_lists_the_targets_in_order() -> None:
    printed = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^  make (\S+)", printed, re.MULTILINE) == TARGETS


def test_a_python_in_range_is_taken_even_if_python3_is_too_old(path_with) -> None:
    found = _find(path_with(python3=((3, 9), True), python3_12=((3, 12), True)))
    assert found.returncode == 0
    assert found.stdout.strip().endswith("python3.12")


def test_a_python_without_venv_is_passed_over_for_one_that_has_it(path_with) -> None:
    found = _find(path_with(python3=((3, 11), False), python3_14=((3, 14), True)))
    assert found.stdout.strip().endswith("python3.14")


def test_without_a_venv_module_the_one_command_that_cures_it_is_named(path_with) -> None:
    path = path_with(python3=((3, 11), False))
    apt = Path(path) / "apt-get"
    apt.symlink_to("/bin/true")
    found = _find(path)
    assert found.returncode == 1
    assert len(found.stderr.splitlines()) == 1
    assert "apt-get install -y python3.11-venv" in found.stderr


@pytest.mark.parametrize("version", [(3, 10), (3, 15), (2, 7)])
def test_a_python_out_of_range_is_refused_with_what_to_install(path_with, version: tuple[int, int]) -> None:
    found = _find(path_with(python3=(version, True)))
    assert found.returncode == 1
    assert f"found Python {version[0]}.{version[1]}; install Python 3.13" in found.stderr


def test_the_python_somebody_named_is_the_only_one_tried(path_with) -> None:
    path = path_with(python3=((3, 12), True), python3_10=((3, 10), True))
    found = _find(path, PYTHON="python3.10")
    assert found.returncode == 1
    assert "PYTHON=python3.10 is not a Python from 3.11 to 3.14" in found.stderr


@pytest.mark.parametrize("fails", ["nothing", "lint", "test", ".venv/.stamp-dev"])
def test_ci_runs_lint_and_every_test_and_fails_where_one_does(tmp_path: Path, fails: str) -> None:
    (tmp_path / "make").write_text(f'#!/bin/sh\necho "make $@"\ntest "$1" != "{fails}"\n')
    (tmp_path / "make").chmod(0o755)
    ran = subprocess.run(
        ["bash", str(ROOT / ".ci" / "run")],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    first, *rest = ran.stdout.splitlines()
    assert first == "make .venv/.stamp-dev"
    assert sorted(rest) == ([] if fails == ".venv/.stamp-dev" else ["make lint", "make test"])
    assert (ran.returncode != 0) == (fails != "nothing")
