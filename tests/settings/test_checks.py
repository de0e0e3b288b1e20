from __future__ import annotations

import re
import socket
import sys
from pathlib import Path

import pytest

from gateway.errors import SettingsError
from gateway.settings import DatabaseSettings, Settings, load_settings
from gateway.settings.checks import check_start, device_problem, port_problem, problems


def test_a_machine_that_fits_has_no_problems_and_gets_its_folders(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", cache_dir=tmp_path / "audio", port=0)
    check_start(settings)
    assert (tmp_path / "data").is_dir()
    assert (tmp_path / "audio").is_dir()


def test_a_data_folder_that_it_makes_is_for_its_user_alone_and_one_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o750)
    for name, mode in (("ours", 0o700), ("theirs", 0o750)):
        check_start(Settings(data_dir=tmp_path / name), listen=False)
        assert (tmp_path / name).stat().st_mode & 0o777 == mode


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
        with pytest.raises(SettingsError, match=rf"^{name} = .*/file.*cannot be written.*or set another$"):
            check_start(settings, listen=False)


def test_the_folder_of_audio_is_tried_where_it_is_not_set_by_itself(tmp_path: Path) -> None:
    (tmp_path / "audio").write_text("in the way")
    with pytest.raises(SettingsError, match=r"^VOXGATE_DATA_DIR = .*: 'audio' in it cannot be written"):
        check_start(Settings(data_dir=tmp_path), listen=False)


def test_a_taken_port_stops_the_start_and_another_is_offered(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = Settings(data_dir=tmp_path, port=port)
        with pytest.raises(SettingsError, match=rf"^VOXGATE_PORT = {port}: already in use on 127.0.0.1.*VOXGATE_PORT="):
            check_start(settings)
        check_start(settings, listen=False)
    assert port_problem(settings) is None


def test_an_address_of_another_machine_is_refused() -> None:
    problem = port_problem(Settings(host="192.0.2.1", port=0))
    assert problem is not None
    assert problem.startswith("VOXGATE_HOST = '192.0.2.1': the server cannot listen there")


def test_an_absent_device_is_named_with_what_to_set_instead(tmp_path: Path) -> None:
    def problem(device: str) -> str | None:
        return device_problem(device, "VOXGATE_DEVICE", tmp_path, "linux")

    assert problem("auto") is None
    assert problem("cpu") is None
    assert "no NVIDIA GPU; install its driver, or set VOXGATE_DEVICE=auto" in str(problem("cuda"))
    (tmp_path / "nvidia0").touch()
    (tmp_path / "nvidiactl").touch()
    assert problem("cuda") is None
    assert problem("cuda:0") is None
    assert "VOXGATE_DEVICE = 'cuda:3': this machine shows 1 GPU(s)" in str(problem("cuda:3"))
    assert "only a Mac" in str(problem("mps"))


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac may have the device")
def test_the_device_of_one_backend_is_looked_for_too(tmp_path: Path) -> None:
    env = {"VOXGATE_DATA_DIR": str(tmp_path), "VOXGATE_BACKENDS__HIBARI__DEVICE": "mps"}
    (found,) = problems(load_settings(env), listen=False)
    assert found == (
        "VOXGATE_BACKENDS__HIBARI__DEVICE = 'mps': only a Mac has it; set VOXGATE_BACKENDS__HIBARI__DEVICE=auto"
    )
    assert problems(load_settings({**env, "VOXGATE_PLUGINS": "scripted"}), listen=False) == []


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac may have the device")
def test_a_problem_names_what_was_set_and_how_it_is_set_otherwise(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    data = {"VOXGATE_DATA_DIR": str(tmp_path)}
    (aliased,) = problems(load_settings({**data, "DEVICE": "mps"}), listen=False)
    assert aliased == "DEVICE = 'mps': only a Mac has it; set DEVICE=auto"
    (folder,) = problems(load_settings({**data, "CACHE_DIR": str(tmp_path / "file" / "x")}), listen=False)
    assert folder.startswith("CACHE_DIR = ")
    toml = tmp_path / "voxgate.toml"
    toml.write_text('device = "mps"\n[backends.hibari]\ndevice = "mps"\n')
    assert problems(load_settings(data, toml), listen=False) == [
        "voxgate.toml: device = 'mps': only a Mac has it; set device = 'auto' in voxgate.toml",
        "voxgate.toml: [backends.hibari] device = 'mps': only a Mac has it; "
        "set [backends.hibari] device = 'auto' in voxgate.toml",
    ]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (flag,) = problems(load_settings(data, overrides={"port": port}))
    assert flag.startswith(f"--port = {port}: already in use on 127.0.0.1;")
    assert re.search(r"or set --port [0-9]+$", flag)


def test_every_problem_is_listed_for_the_doctor(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    found = problems(Settings(data_dir=tmp_path / "file" / "x", host="192.0.2.1"))
    assert [line.split(" = ")[0] for line in found] == ["VOXGATE_DATA_DIR", "VOXGATE_HOST"]


ORIGINS = (
    "*", "https://app.example.com", "http://localhost:3000", "http://127.0.0.1", "http://[::1]:8080",
    "https://*.example.com", "capacitor://localhost",
)  # fmt: skip
NO_ORIGINS = ("foo", "app.example.com", "https://app.example.com/", "https://App.example.com", "https://", "null", "")


def test_an_origin_that_no_browser_sends_stops_the_start(tmp_path: Path) -> None:
    assert problems(Settings(data_dir=tmp_path, cors_origins=ORIGINS), listen=False) == []
    for entry in NO_ORIGINS:
        words = rf"^VOXGATE_CORS_ORIGINS = '{entry}': not an origin; .* or \* for any$"
        with pytest.raises(SettingsError, match=words):
            check_start(Settings(data_dir=tmp_path, cors_origins=("*", entry)), listen=False)


HOSTS = ("hooks.internal", "localhost", "My-Host_1.", "127.0.0.1", "10.0.0.5/8", "::1", "fd00::/8", "1password.local")
NO_HOSTS = (
    "300.1.1.1/99",
    "300.1.1.1",
    "10.0.0.0/33",
    "hooks.internal:8080",
    "http://hooks.internal",
    "*.internal",
    "",
)


def test_what_is_neither_host_nor_network_stops_the_start(tmp_path: Path) -> None:
    assert problems(Settings(data_dir=tmp_path, webhook_allow=HOSTS), listen=False) == []
    for entry in NO_HOSTS:
        words = re.escape(f"VOXGATE_WEBHOOK_ALLOW = {entry!r}: neither a host name nor a network; write, for example, ")
        with pytest.raises(SettingsError, match=f"^{words}"):
            check_start(Settings(data_dir=tmp_path, webhook_allow=("localhost", entry)), listen=False)


@pytest.mark.parametrize("key", ["Q", "fifteen-letters"])
def test_a_key_that_can_be_guessed_stops_the_start_and_is_not_shown(tmp_path: Path, key: str) -> None:
    settings = load_settings({"VOXGATE_API_KEY": key, "VOXGATE_DATA_DIR": str(tmp_path), "VOXGATE_PORT": "0"})
    with pytest.raises(SettingsError, match=r"^VOXGATE_API_KEY = \*\*\* has \d+ of the at least 16") as caught:
        check_start(settings)
    assert key not in str(caught.value)
    check_start(settings, listen=False)  # a command that speaks to another server, which may know it
    check_start(Settings(data_dir=tmp_path, port=0, api_key=key + "-and-some-more-of-it"))
