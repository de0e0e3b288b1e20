"""The registry finds the backends of a gateway and reports those it cannot use."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.hosting import order, outcome
from support.posting import post

from gateway.clock import SystemClock
from gateway.engines.registry import Engines
from gateway.engines.scale import cores
from gateway.errors import SettingsError
from gateway.settings import Settings, load_settings

GROUP = "voxgate.backends"
SCRIPTED = EntryPoint("scripted", "backends.testing.scripted:ScriptedBackend", GROUP)
HIBARI = EntryPoint("hibari", "backends.hibari:HibariBackend", GROUP)


class Package(SimpleNamespace):
    name = "third-party"
    version = "3.1"
    requires: tuple[str, ...] = ()


def registered(name: str, value: str, /, **package) -> EntryPoint:
    entry_point = EntryPoint(name, value, GROUP)
    vars(entry_point)["dist"] = Package(**package)
    return entry_point


def engines(*entry_points: EntryPoint, plugins=("scripted",), **backends) -> Engines:
    settings = SimpleNamespace(
        plugins=plugins, backends=backends, origins={}, models_dir=Path("models"), device="cpu", hf_token=None
    )
    return Engines(settings, post, SystemClock(), entry_points or (SCRIPTED,))


def info(found: Engines, name: str):
    return next(info for info in found.infos if info.name == name)


async def test_a_named_backend_is_found_and_speaks():
    found = engines(scripted={"seconds_per_char": "0.01", "min_workers": 0})
    backend = found.get("scripted")
    assert info(found, "scripted").state == "found"
    assert [voice.name for voice in backend.voices] == ["low", "high"]
    take = await outcome(backend.host.submit(order("x" * 100)))
    assert take.samples == 24_000
    await found.stop(1)


def test_installed_backends_are_found_by_their_metadata():
    found = Engines(Settings(model_cache_dir=Path("models"), device="cpu"), post, SystemClock())
    assert found.get("hibari").revision.startswith("0.2.1-")
    assert found.get("hibari").scale.max_workers == cores()
    assert not info(found, "scripted").enabled
    assert found.get("scripted") is None


def test_only_the_named_backends_may_load():
    found = engines(SCRIPTED, HIBARI)
    assert found.get("hibari") is None
    assert not info(found, "hibari").enabled
    assert [backend.name for backend in found] == ["scripted"]


def test_listing_backends_imports_none_of_those_that_may_not_load():
    code = (
        "import sys\n"
        "from gateway.engines.discovery import discover\n"
        "assert {one.info.name for one in discover(())} >= {'hibari', 'scripted'}\n"
        "assert not [name for name in sys.modules if name.startswith(('backends.hibari', 'backends.testing'))]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_named_backend_that_is_not_installed_stops_the_start_with_the_nearest_name():
    with pytest.raises(SettingsError, match=r"VOXGATE_PLUGINS names 'scriptd'.*did you mean 'scripted'"):
        engines(plugins=("scriptd",))


def test_settings_for_a_backend_nobody_registers_stop_the_start():
    with pytest.raises(SettingsError, match=r"\[backends.scriptad\].*did you mean 'scripted'"):
        engines(scriptad={})


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"wokers": 2}, r"\[backends.scripted\] wokers: no such setting; did you mean workers\?"),
        ({"load_s": "long"}, r"\[backends.scripted\] load_s = 'long': must be a number \(or leave it out\)"),
        ({"load_fails": "crsh"}, r"load_fails = 'crsh': must be one of \"\", unavailable, raise, crash, hang"),
        ({"max_workers": 0}, r"max_workers = 0: must be an integer between 1 and 256"),
        ({"device": "gpu"}, r"device = 'gpu': must be auto, cpu, cuda, cuda:N or mps"),
        (
            {"min_workers": 3, "max_workers": 2},
            r"min_workers = 3: more than \[backends.scripted\] max_workers = 2 allows",
        ),
        ({"placement": "inline"}, "placement = 'inline': scripted runs as 'process' only"),
    ],
)
def test_a_wrong_setting_stops_the_start_in_one_line(raw, words: str):
    with pytest.raises(SettingsError, match=words) as caught:
        engines(scripted=raw)
    assert "\n" not in str(caught.value)


AT = "VOXGATE_BACKENDS__SCRIPTED__"
FILE = "voxgate.toml: [backends.scripted] "


@pytest.mark.parametrize(
    ("env", "toml", "line"),
    [
        (
            {"PLACEMENT": "x"},
            "",
            f"{AT}PLACEMENT = 'x': scripted runs as 'process' only; set {AT}PLACEMENT=process, or leave it out",
        ),
        ({"IDLE_TIMEOUT_S": "x"}, "", f"{AT}IDLE_TIMEOUT_S = 'x': must be a number above 0 (or leave it out)"),
        ({}, "workers = 0", f"{FILE}workers = 0: must be an integer between 1 and 256 (or leave it out)"),
        (
            {},
            'placement = "inline"',
            f"{FILE}placement = 'inline': scripted runs as 'process' only; "
            "set [backends.scripted] placement = 'process' in voxgate.toml, or leave it out",
        ),
        (
            {"MIN_WORKERS": "3"},
            "workers = 2",
            f"{AT}MIN_WORKERS = 3: more than {FILE}workers = 2 allows; "
            f"set {AT}MIN_WORKERS=2 or less, or raise {FILE}workers",
        ),
        (
            {"MIN_WORKERS": "3"},
            "default_workers = 2",
            f"{AT}MIN_WORKERS = 3: more than the 2 it has without max_workers; "
            f"set {AT}MIN_WORKERS=2 or less, or set max_workers",
        ),
        (
            {"MIN_WORKERS": "3"},
            'host = "inline"',
            f"{AT}MIN_WORKERS = 3: scripted can have 1 at most; set {AT}MIN_WORKERS=1 or less",
        ),
    ],
)
def test_a_wrong_setting_of_the_host_is_told_by_its_place_value_and_cure(tmp_path: Path, env, toml: str, line: str):
    file = tmp_path / "voxgate.toml"
    file.write_text(f"[backends.scripted]\n{toml}\n")
    variables = {"VOXGATE_PLUGINS": "scripted"} | {f"{AT}{key}": value for key, value in env.items()}
    with pytest.raises(SettingsError) as caught:
        Engines(load_settings(variables, file), post, SystemClock(), (SCRIPTED,))
    assert str(caught.value) == line


def test_settings_of_a_backend_are_read_from_the_environment_as_those_of_the_gateway_are():
    env = {
        "VOXGATE_PLUGINS": "scripted",
        "VOXGATE_BACKENDS__SCRIPTED__LANGUAGES": "en-US, de",
        "VOXGATE_BACKENDS__SCRIPTED__SPELL_OUT": "yes",
        "VOXGATE_BACKENDS__SCRIPTED__CLONING": "off",
        "VOXGATE_BACKENDS__SCRIPTED__MAX_WORKERS": "2",
    }
    backend = Engines(load_settings(env), post, SystemClock(), (SCRIPTED,)).get("scripted")
    assert backend.capabilities.languages == ("en-US", "de")
    assert backend.capabilities.spell_out
    assert not backend.capabilities.cloning
    assert backend.scale.max_workers == 2


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("VOXGATE_BACKENDS__SCRIPTED__LOAD_T", "did you mean VOXGATE_BACKENDS__SCRIPTED__LOAD_S?"),
        ("VOXGATE_BACKENDS__SCRIPTED__REVISION__X", "[backends.scripted] revision = ***: must be text"),
        ("VOXGATE_BACKENDS__SCRIPTAD__REVISION", "VOXGATE_BACKENDS__SCRIPTAD__REVISION: no installed package"),
    ],
)
def test_what_may_be_a_vendors_key_is_never_shown(variable: str, words: str):
    settings = load_settings({"VOXGATE_PLUGINS": "scripted", variable: "a-vendors-key"})
    with pytest.raises(SettingsError) as caught:
        Engines(settings, post, SystemClock(), (SCRIPTED,))
    assert words in str(caught.value)
    assert "a-vendors-key" not in str(caught.value)


def test_a_backend_that_cannot_be_imported_is_broken_and_stops_nobody():
    broken = registered("broken", "no.such.module:Backend")
    found = engines(SCRIPTED, broken, plugins=("scripted", "broken"))
    assert info(found, "broken").state == "broken"
    assert "No module named 'no'" in info(found, "broken").error
    assert info(found, "broken").version == "3.1"
    assert found.get("scripted") is not None


def test_a_class_that_is_no_backend_is_broken():
    found = engines(registered("odd", "pathlib:Path"), plugins=("odd",))
    assert "lacks api_version" in info(found, "odd").error
    named = engines(registered("other", "backends.testing.scripted:ScriptedBackend"), plugins=("other",))
    assert "named 'scripted', but registered as 'other'" in info(named, "other").error


def test_two_packages_with_one_backend_name_are_reported_and_neither_is_chosen():
    first = registered("scripted", SCRIPTED.value, name="first")
    second = registered("scripted", SCRIPTED.value, name="second")
    found = engines(first, second)
    assert found.get("scripted") is None
    assert "first, second" in info(found, "scripted").error


def test_a_backend_whose_extra_is_not_installed_is_missing_with_the_command_that_installs_it():
    entry_point = registered(
        "singer", "voxgate_singer:Singer [gpu]", requires=('no-such-package>=1 ; extra == "gpu"', "msgspec")
    )
    found = engines(SCRIPTED, entry_point, plugins=None)
    singer = info(found, "singer")
    assert (singer.state, singer.error) == ("missing", "not installed: no-such-package")
    assert singer.cure == "pip install 'third-party[gpu]'"
