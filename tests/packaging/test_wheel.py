"""One wheel, installed in an empty environment outside the checkout, serves and migrates."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.command import Served, serving_command

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what is in the tree, so that nothing is left in it."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    archive = folder / "tree.tar"
    with tarfile.open(archive, "w") as tar:
        for name in filter(None, listed.decode().split("\0")):
            if (ROOT / name).is_file():
                tar.add(ROOT / name, arcname=name)
    source = folder / "source"
    with tarfile.open(archive) as tar:
        tar.extractall(source, filter="data")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder), "."],
        cwd=source,
        check=True,
    )
    return next(folder.glob("voxgate-*.whl"))


@pytest.fixture(scope="module")
def voxgate(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, in an environment of its own that borrows the locked packages of this one and nothing else.

    A folder named in a .pth file is searched for imports, but .pth files in it are not read: the checkout, which is
    installed editable beside those packages, stays out.
    """
    folder = tmp_path_factory.mktemp("empty") / "env"
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    site = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel)], check=True)
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "voxgate"


@pytest.fixture
def server(voxgate: Path, tmp_path: Path) -> Iterator[Served]:
    with serving_command([str(voxgate)], tmp_path) as served:
        yield served


def test_the_wheel_holds_the_migrations_the_page_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if ".dist-info" not in top} == {
        "backends",
        "gateway",
        "migrations",
        "storage",
        "voxgate",
    }
    assert any(name.startswith("migrations/versions/0001") for name in names)
    assert any(name.startswith("gateway/web/") and name.endswith(".html") for name in names)
    assert any(name.endswith("LICENSE") for name in names)
    assert not [name for name in names if "test_" in name or "/tests/" in name or "conftest" in name]


def test_everything_in_the_tree_that_the_rooms_need_is_in_the_wheel(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    for room in ("backends", "gateway", "migrations", "storage", "voxgate"):
        for path in (ROOT / room).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.relative_to(ROOT).as_posix() in packed


def test_the_installed_package_is_not_the_checkout(voxgate: Path, tmp_path: Path) -> None:
    where = subprocess.run(
        [voxgate.parent / "python", "-c", "import gateway; print(gateway.__file__)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert where.startswith(str(voxgate.parents[1]))


def test_it_migrates_an_empty_database(voxgate: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "VOXGATE_DATA_DIR": str(tmp_path / "data")}
    for expected in ("upgraded from nothing to", "already at"):
        done = subprocess.run(
            [voxgate, "db", "upgrade"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith(expected)


def test_it_serves_speech(server: Served) -> None:
    answer = httpx.post(
        f"{server.url}/runsync",
        headers={"Authorization": f"Bearer {server.key}"},
        json={"input": {"text": "Installed from one wheel.", "format": "wav"}},
        timeout=120,
        trust_env=False,
    )
    assert answer.status_code == 200
    output = answer.json()["output"]
    assert output["backend"] == "hibari"
    assert base64.b64decode(output["audio_base64"]).startswith(b"RIFF")
    assert 500 < output["duration_ms"] < 10_000
    assert "voxgate" in httpx.get(server.url, trust_env=False).text
