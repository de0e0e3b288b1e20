"""Chatterbox in the gateway: described from the disk alone, and listed as missing where its package is."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from support.posting import post

from backends.chatterbox import ChatterboxBackend, ChatterboxSettings
from backends.chatterbox import backend as module
from backends.interface import BackendContext, BackendUnavailable, Limit
from gateway.clock import SystemClock
from gateway.engines.configure import configure
from gateway.engines.registry import Engines
from gateway.errors import SettingsError
from gateway.routing.endpoints import Endpoint
from gateway.routing.router import Router
from gateway.routing.speakers import Speakers
from gateway.settings import Settings

ENTRY_POINTS = tuple(
    EntryPoint(name, value, "voxgate.backends")
    for name, value in (
        ("chatterbox", "backends.chatterbox:ChatterboxBackend"),
        ("hibari", "backends.hibari:HibariBackend"),
    )
)


def backend(tmp_path: Path, **settings: Any) -> ChatterboxBackend:
    return ChatterboxBackend(ChatterboxSettings(**settings), BackendContext(tmp_path))


def speaking(engines: Engines) -> str:
    """The backend that is meant where nobody names one."""
    router = Router({hosted.name: hosted for hosted in engines}, None, lambda tenant, name: None, found=engines.infos)
    return router.serving(Endpoint("any"))[0].name


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some installed package stands in for Chatterbox's, whose version is all that is asked for here."""
    monkeypatch.setattr(module, "DISTRIBUTIONS", ("msgspec",))


def folder(path: Path, **changed: bytes) -> Path:
    header = json.dumps({"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    tensors = len(header).to_bytes(8, "little") + header + b"\0\0\0\0"
    path.mkdir()
    for name in ("ve.safetensors", "t3_cfg.safetensors", "s3gen.safetensors"):
        (path / name).write_bytes(tensors)
    (path / "tokenizer.json").write_text("{}")
    (path / "conds.pt").write_bytes(b"a voice")
    for name, content in changed.items():
        (path / name.replace("__", ".")).write_bytes(content)
    return path


def test_a_backend_whose_package_is_missing_is_listed_with_its_cure_and_never_the_default(
    tmp_path: Path, no_chatterbox: None
) -> None:
    engines = Engines(Settings(data_dir=tmp_path), post, SystemClock(), ENTRY_POINTS)
    states = {info.name: info for info in engines.infos}
    assert states["chatterbox"].state == "missing"
    assert "pip install 'voxgate[chatterbox]'" in states["chatterbox"].cure
    assert speaking(engines) == "hibari"


def test_one_whose_package_is_missing_is_named_to_who_needs_its_languages(tmp_path: Path, no_chatterbox: None) -> None:
    settings = Settings(data_dir=tmp_path, backends={"chatterbox": {"model": "multilingual"}})
    engines = Engines(settings, post, SystemClock(), ENTRY_POINTS)
    told = Speakers(engines, engines.infos).of_language("de", "hibari")
    assert told.startswith("chatterbox can once it is installed: pip install 'voxgate[chatterbox]'")


def test_an_installed_one_is_the_default(tmp_path: Path, package: None) -> None:
    engines = Engines(Settings(data_dir=tmp_path), post, SystemClock(), ENTRY_POINTS)
    assert speaking(engines) == "chatterbox"


def test_asking_what_it_is_imports_nothing_heavy(tmp_path: Path) -> None:
    made = folder(tmp_path / "model")
    code = f"""
import sys
from pathlib import Path
from backends.chatterbox import ChatterboxBackend, ChatterboxSettings, backend
from backends.interface import BackendContext
backend.DISTRIBUTIONS = ("msgspec",)
asked = ChatterboxBackend(ChatterboxSettings(model_path={str(made)!r}), BackendContext(Path(".")))
asked.capabilities(), asked.voices(), asked.revision()
heavy = {{"torch", "torchaudio", "transformers", "chatterbox", "huggingface_hub", "librosa"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_capabilities_follow_the_model(tmp_path: Path) -> None:
    english = backend(tmp_path).capabilities()
    assert english.languages == ("en",)
    assert (english.chunk.min_chars, english.chunk.target_chars, english.chunk.max.n) == (40, 240, 300)
    assert (english.seed, english.sample_rate, english.concurrency) == (True, 24_000, 8)
    assert backend(tmp_path, slots=3).capabilities().concurrency == 3
    assert backend(tmp_path, engine="reference").capabilities().concurrency == 1
    multilingual = backend(tmp_path, model="multilingual").capabilities()
    assert len(multilingual.languages) == 23
    assert multilingual.concurrency == 1
    assert multilingual.chunk.max == Limit(300, "utf8_bytes")  # 300 Chinese characters would take a minute
    assert backend(tmp_path, model="turbo").capabilities().chunk.max == Limit(300)


def test_the_revision_changes_with_files_and_with_settings_that_shape_the_sound(tmp_path: Path, package: None) -> None:
    one = folder(tmp_path / "one")
    same, other = folder(tmp_path / "same"), folder(tmp_path / "other", tokenizer__json=b"{ }")
    revisions = {
        name: backend(tmp_path, model_path=str(path)).revision()
        for name, path in (("one", one), ("same", same), ("other", other))
    }
    assert revisions["one"] == revisions["same"] != revisions["other"]
    for settings in ({"flow_steps": 6}, {"reference_s": 5.0}, {"deterministic": True}, {"dtype": "bf16"}):
        assert backend(tmp_path, model_path=str(one), **settings).revision() != revisions["one"]
    assert backend(tmp_path, model_path=str(one), slots=2).revision() == revisions["one"]


def test_weights_of_the_hub_are_known_by_their_commit_before_they_are_there(tmp_path: Path, package: None) -> None:
    before = backend(tmp_path)
    revision, voice = before.revision(), before.voices()[0]
    assert voice.name == "default"
    assert backend(tmp_path, hub_revision="0" * 40).revision() != revision
    assert backend(tmp_path, hub_revision="0" * 40).voices()[0].content_hash != voice.content_hash


def test_a_branch_of_the_hub_is_known_once_it_was_downloaded(tmp_path: Path, package: None) -> None:
    with pytest.raises(BackendUnavailable, match="its commit is not known"):
        backend(tmp_path, hub_revision="main").revision()
    refs = tmp_path / "models--ResembleAI--chatterbox" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("0" * 40)
    assert backend(tmp_path, hub_revision="main").revision() == backend(tmp_path, hub_revision="0" * 40).revision()


def test_a_folder_that_lacks_files_is_named_with_what_it_lacks(tmp_path: Path, package: None) -> None:
    made = folder(tmp_path / "model")
    (made / "s3gen.safetensors").unlink()
    with pytest.raises(BackendUnavailable, match=r"lacks s3gen\.safetensors.*model_path"):
        backend(tmp_path, model_path=str(made)).revision()


def test_a_voice_of_a_folder_is_known_by_its_content(tmp_path: Path) -> None:
    one = backend(tmp_path, model_path=str(folder(tmp_path / "one"))).voices()[0]
    other = backend(tmp_path, model_path=str(folder(tmp_path / "other", conds__pt=b"another voice"))).voices()[0]
    assert one.content_hash != other.content_hash


def test_settings_come_as_text(tmp_path: Path, package: None) -> None:
    made = folder(tmp_path / "model")
    raw = {"model_path": str(made), "slots": "4", "deterministic": "true", "device": "cpu", "workers": "1"}
    settings, host = configure(ChatterboxBackend, raw)
    assert settings == ChatterboxSettings(model_path=str(made), slots=4, deterministic=True)
    assert host.device == "cpu"
    with pytest.raises(
        SettingsError, match=r"\[backends\.chatterbox\] slots = .0.: must be an integer between 1 and 64"
    ):
        configure(ChatterboxBackend, {"slots": "0"})
