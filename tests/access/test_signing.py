from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from support.access import NOON_MS, TurnedClock, signed
from support.disks import without_hard_links

from gateway.access import Signer, signing_key
from gateway.errors import Forbidden, SettingsError
from gateway.settings import Settings


def _parts(address: str) -> tuple[str, str, str]:
    split = urlsplit(address)
    query = parse_qs(split.query)
    return split.path, query["expires"][0], query["signature"][0]


def test_a_signed_address_opens_until_its_time_is_over() -> None:
    clock = TurnedClock()
    signer = Signer(b"k" * 32, clock)
    path, expires, signature = _parts(signed(signer, "/audio/ab12", NOON_MS // 1000 + 60))
    assert path == "/audio/ab12"
    signer.verify(path, expires, signature)
    clock.wall_ms += 59_999
    signer.verify(path, expires, signature)
    clock.wall_ms += 1
    with pytest.raises(Forbidden, match="has expired"):
        signer.verify(path, expires, signature)


def test_nothing_about_a_signed_address_can_be_altered() -> None:
    signer = Signer(b"k" * 32, TurnedClock())
    path, expires, signature = _parts(signed(signer, "/audio/ab12", NOON_MS // 1000 + 60))
    for altered in (
        ("/audio/ab13", expires, signature),
        (path, str(int(expires) + 1), signature),
        (path, expires, signature[:-1]),
        (path, expires, ""),
        (path, expires, "ü" * 43),
        (path, "soon", signature),
        (path, "-1", signature),
        (path, "9" * 400, signature),
    ):
        with pytest.raises(Forbidden, match="the signature of this address is wrong"):
            signer.verify(*altered)
    with pytest.raises(Forbidden):
        Signer(b"j" * 32, TurnedClock()).verify(path, expires, signature)


def test_the_signing_key_is_made_once_for_this_user_only(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    key = signing_key(settings)
    assert len(key) >= 32
    assert signing_key(settings) == key
    files = list((tmp_path / "data").iterdir())
    assert [file.name for file in files] == ["signing.key"]
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600


def test_a_signing_key_of_the_settings_is_used_as_it_is(tmp_path: Path) -> None:
    assert signing_key(Settings(data_dir=tmp_path, signing_key="0123456789abcdef")) == b"0123456789abcdef"
    assert list(tmp_path.iterdir()) == []


def test_a_cut_signing_key_file_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "signing.key").write_text("short")
    with pytest.raises(SettingsError, match=r"signing\.key is too short"):
        signing_key(Settings(data_dir=tmp_path))


KEY_OF = """
import sys
from pathlib import Path
from gateway.access import signing_key
from gateway.settings import Settings
print(signing_key(Settings(data_dir=Path(sys.argv[1]))).decode())
"""


def test_a_disk_without_hard_links_keeps_one_signing_key_for_servers_that_start_at_once(tmp_path: Path) -> None:
    command = [*without_hard_links(), sys.executable, "-c", KEY_OF, str(tmp_path / "data")]
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    keys = {start.communicate(timeout=60)[0].strip() for start in starts}
    assert len(keys) == 1
    assert len(keys.pop()) >= 32
    files = list((tmp_path / "data").iterdir())
    assert [file.name for file in files] == ["signing.key"]
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600


def test_a_start_that_finds_its_signing_key_writes_nothing(tmp_path: Path) -> None:
    key = signing_key(Settings(data_dir=tmp_path))
    before = tmp_path.stat().st_mtime_ns
    assert signing_key(Settings(data_dir=tmp_path)) == key
    assert tmp_path.stat().st_mtime_ns == before


def test_an_empty_signing_key_file_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "signing.key").touch()
    with pytest.raises(SettingsError, match=r"signing\.key is too short"):
        signing_key(Settings(data_dir=tmp_path))
