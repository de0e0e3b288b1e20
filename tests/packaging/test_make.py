"""`make`, and the search for a Python that can build the environment."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
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


def _ci(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run `.ci/run` with this script in place of `make`."""
    (folder / "make").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "make").chmod(0o755)
    return subprocess.run(
        ["bash", str(ROOT / ".ci" / "run")],
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("fails", ["nothing", "lint", "test", ".venv/.stamp-dev"])
def test_ci_runs_lint_and_every_test_and_fails_where_one_does(tmp_path: Path, fails: str) -> None:
    ran = _ci(tmp_path, f'echo "make $@"\ntest "$1" != "{fails}"')
    first, *rest = ran.stdout.splitlines()
    assert first == "make .venv/.stamp-dev"
    assert sorted(rest) == ([] if fails == ".venv/.stamp-dev" else ["make lint", "make test"])
    assert (ran.returncode != 0) == (fails != "nothing")


@pytest.mark.parametrize("reruns", [0, 1, 2, 3])
def test_ci_names_every_test_that_had_to_be_tried_again_and_fails_above_two(tmp_path: Path, reruns: int) -> None:
    # Two suites: their reruns count together.
    names = [f"tests/suite_{n % 2}/test_it.py::test_number_{n}" for n in range(reruns)]
    said = "; ".join(f"echo 'RERUN {name}'" for name in names) or "true"
    ran = _ci(tmp_path, f'if [ "$1" = test ]; then {said}; fi')
    assert (ran.returncode != 0) == (reruns > 2)
    at_the_end = ran.stdout.rpartition("voxgate: ")[2]
    assert all(name in at_the_end for name in names)


def test_the_rerun_of_a_test_is_reported_as_ci_looks_for_it(tmp_path: Path) -> None:
    (tmp_path / "test_twice.py").write_text(
        "from pathlib import Path\n\n\n"
        "def test_at_the_second_try(request):\n"
        "    tried = Path(request.fspath).with_name('tried')\n"
        "    before = tried.exists()\n"
        "    tried.touch()\n"
        "    assert before\n"
    )
    flags = subprocess.run(
        ["make", "-C", str(ROOT), "--no-print-directory", "--eval", "flags: ; @echo $(TRIES) $(SLOWEST)", "flags"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path), *flags,
         str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"^RERUN test_twice.py::test_at_the_second_try", ran.stdout, re.MULTILINE)
    assert "slowest 10 durations" in ran.stdout
