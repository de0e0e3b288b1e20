"""One wheel, installed in an empty environment outside the checkout, serves and migrates."""

from __future__ import annotations

import base64
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.command import Served, serving_command
from support.wheels import OUTSIDE, ROOT, Installed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("empty") / "env", wheel)


@pytest.fixture
def server(installed: Installed, tmp_path: Path) -> Iterator[Served]:
    with serving_command([str(installed.voxgate)], tmp_path, OUTSIDE) as served:
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


def test_the_installed_package_is_not_the_checkout(installed: Installed, tmp_path: Path) -> None:
    where = installed.run(installed.python, "-c", "import gateway; print(gateway.__file__)", cwd=tmp_path).stdout
    assert where.startswith(str(installed.folder))


def test_it_migrates_an_empty_database(installed: Installed, tmp_path: Path) -> None:
    for expected in ("upgraded from nothing to", "already at"):
        done = installed.run(installed.voxgate, "db", "upgrade", cwd=tmp_path, VOXGATE_DATA_DIR=str(tmp_path / "data"))
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
