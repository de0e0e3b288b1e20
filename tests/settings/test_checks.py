from __future__ import annotations

import socket
from pathlib import Path

import pytest

from gateway.errors import SettingsError
from gateway.settings import DatabaseSettings, Settings
from gateway.settings.checks import check_start, device_problem, port_problem, problems


def test_a_machine_that_fits_has_no_problems_and_gets_its_folders(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", cache_dir=tmp_path / "audio", port=0)
    check_start(settings)
    assert (tmp_path / "data").is_dir()
    assert (tmp_path / "audio").is_dir()


def test_a_folder_that_cannot_be_written_stops_the_start_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for name, settings in {
        "VOXGATE_DATA_DIR": Settings(data_dir=tmp_path / "file" / "data"),
        "VOXGATE_CACHE_DIR": Settings(data_dir=tmp_path, cache_dir=tmp_path / "file" / "audio"),
        "VOXGATE_MODEL_CACHE_DIR": Settings(data_dir=tmp_path, model_cache_dir=tmp_path / "file" / "models"),
        "VOXGATE_DATABASE__URL": Settings(
            data_dir=tmp_path, database=DatabaseSettings(url=f"sqlite:///{tmp_path}/file/x/db")
        ),
    }.items():
        with pytest.raises(SettingsError, match=rf"^{name} = .*/file.*cannot be written.*set {name} to one$"):
            check_start(settings, listen=False)


def test_a_taken_port_stops_the_start_and_another_is_offered(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = Settings(data_dir=tmp_path, port=port)
        with pytest.raises(SettingsError, match=rf"^VOXGATE_PORT = {port}: already in use on 127.0.0.1.*VOXGATE_PORT="):
            check_start(settings)
        check_start(settings, listen=False)
    assert port_problem("127.0.0.1", port) is None


def test_an_address_of_another_machine_is_refused() -> None:
    problem = port_problem("192.0.2.1", 0)
    assert problem is not None
    assert problem.startswith("VOXGATE_HOST = '192.0.2.1': cannot be listened on")


def test_an_absent_device_is_named_with_what_to_set_instead(tmp_path: Path) -> None:
    assert device_problem("auto", tmp_path) is None
    assert device_problem("cpu", tmp_path) is None
    assert "no NVIDIA GPU" in str(device_problem("cuda", tmp_path, "linux"))
    (tmp_path / "nvidia0").touch()
    (tmp_path / "nvidiactl").touch()
    assert device_problem("cuda", tmp_path, "linux") is None
    assert device_problem("cuda:0", tmp_path, "linux") is None
    assert "VOXGATE_DEVICE = 'cuda:3': this machine shows 1 GPU(s)" in str(device_problem("cuda:3", tmp_path, "linux"))
    assert "only a Mac" in str(device_problem("mps", tmp_path, "linux"))


def test_every_problem_is_listed_for_the_doctor(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    found = problems(Settings(data_dir=tmp_path / "file" / "x", host="192.0.2.1"))
    assert [line.split(" = ")[0] for line in found] == ["VOXGATE_DATA_DIR", "VOXGATE_HOST"]
