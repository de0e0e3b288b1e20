"""Settings that cannot work: one line that says so, from the command that starts and from the doctor."""

from __future__ import annotations

import importlib.metadata
import json
import sqlite3
from pathlib import Path

import pytest
from support.command import command

without_chatterbox = pytest.mark.skipif(
    any("chatterbox" in each.name for each in importlib.metadata.distributions()), reason="chatterbox is installed"
)

LINES = {
    "a policy's key": (
        {},
        '[endpoints.a]\npolicy = { match = "x" }\n',
        "voxgate.toml: [endpoints.a] policy: unknown key 'match'. Known: fallback, arms, sticky_by",
    ),
    "a policy's backend": (
        {},
        '[endpoints.a]\npolicy = { fallback = ["hibary"] }\n',
        "voxgate.toml: [endpoints.a] policy: no installed package registers the backend 'hibary', did you mean "
        "'hibari'?; known: chatterbox, hibari, scripted",
    ),
    "a policy's type": (
        {"VOXGATE_ENDPOINTS__A__POLICY__FALLBACK": "3"},
        "",
        'VOXGATE_ENDPOINTS__A__POLICY__FALLBACK: fallback must be a list of backends, such as ["hibari"]',
    ),
    "an endpoint's backend": (
        {"VOXGATE_ENDPOINTS__A__BACKEND": "nope"},
        "",
        "VOXGATE_ENDPOINTS__A__BACKEND: no installed package registers the backend 'nope'; known: chatterbox",
    ),
    "an endpoint's default": (
        {},
        "[endpoints.a.defaults]\nsead = 7\n",
        "voxgate.toml: [endpoints.a] defaults: in the defaults of this endpoint: unknown input 'sead': did you mean",
    ),
    "an endpoint's language": (
        {"VOXGATE_ENDPOINTS__A__LANGUAGE": "xx123"},
        "",
        "VOXGATE_ENDPOINTS__A__LANGUAGE: language must be a BCP 47 tag such as 'en'",
    ),
    "the default backend": (
        {"VOXGATE_DEFAULT_BACKEND": "hibary"},
        "",
        "VOXGATE_DEFAULT_BACKEND: no installed package registers the backend 'hibary', did you mean 'hibari'?",
    ),
    "a backend's setting": (
        {"VOXGATE_BACKENDS__HIBARI__WORKERS": "many"},
        "",
        "VOXGATE_BACKENDS__HIBARI__WORKERS = 'many': must be an integer between 1 and 256 (or leave it out)",
    ),
    "more workers kept than there may be": (
        {"VOXGATE_BACKENDS__HIBARI__MIN_WORKERS": "5", "VOXGATE_BACKENDS__HIBARI__MAX_WORKERS": "2"},
        "",
        "VOXGATE_BACKENDS__HIBARI__MIN_WORKERS = 5: more than VOXGATE_BACKENDS__HIBARI__MAX_WORKERS = 2 allows; set "
        "VOXGATE_BACKENDS__HIBARI__MIN_WORKERS=2 or less, or raise VOXGATE_BACKENDS__HIBARI__MAX_WORKERS",
    ),
    "an origin": (
        {"VOXGATE_CORS_ORIGINS": "https://app.example.com,foo"},
        "",
        "VOXGATE_CORS_ORIGINS = 'foo': not an origin; write scheme, host and port",
    ),
    "a host for webhooks": (
        {},
        'webhook_allow = ["hooks.internal", "300.1.1.1/99"]\n',
        "voxgate.toml: webhook_allow = '300.1.1.1/99': neither a host name nor a network; write, for example,",
    ),
    "a variable under a flag": (
        {"VOXGATE_PORT": "abc"},
        "",
        "VOXGATE_PORT = 'abc': must be an integer between 0 and 65535",
    ),
    "a plugin": (
        {},
        'plugins = ["hibary"]\n',
        "voxgate.toml: plugins names 'hibary', which no installed package registers, did you mean 'hibari'?",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("of", LINES)
def test_a_wrong_setting_is_one_line_of_the_start(tmp_path: Path, of: str) -> None:
    changes, toml, words = LINES[of]
    (tmp_path / "voxgate.toml").write_text(toml)
    done = command(["serve", "--port", "0"], tmp_path, changes)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"voxgate: {words}")


def test_the_doctor_lists_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "voxgate.toml").write_text(
        'default_backend = "hibary"\n'
        '[endpoints.a]\npolicy = { match = "x" }\n'
        '[endpoints.b]\nbackend = "nope"\npolicy = { fallback = ["hibari", "hibary"] }\n'
        '[endpoints.c]\nlanguage = "xx123"\n'
        "[backends.hibari]\nworkers = 0\n"
    )
    done = command(["doctor"], tmp_path, {"VOXGATE_PORT": "0"})
    assert done.returncode == 2
    lines = [line.split(": ")[1:3] for line in done.stdout.splitlines() if line.startswith("PROBLEM  settings: ")]
    assert lines == [
        ["voxgate.toml", "default_backend"],
        ["voxgate.toml", "[endpoints.a] policy"],
        ["voxgate.toml", "[endpoints.b] backend"],
        ["voxgate.toml", "[endpoints.b] policy"],
        ["voxgate.toml", "[endpoints.c] language"],
        ["voxgate.toml", "[backends.hibari] workers = 0"],
    ]


def test_a_folder_of_audio_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "audio").write_text("in the way")
    for arguments in (["serve", "--port", "0"], ["say", "Hello."]):
        done = command(arguments, tmp_path)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith("voxgate: VOXGATE_DATA_DIR = ")
        assert "'audio' in it cannot be written" in line


def _spoil_an_endpoint(folder: Path) -> None:
    assert command(["endpoints", "create", "spoiled"], folder).returncode == 0
    with sqlite3.connect(folder / "data" / "voxgate.db") as connection:
        connection.execute("UPDATE endpoints SET policy = ?", (json.dumps({"split": ["a"]}),))


def test_what_only_the_start_itself_can_find_is_one_line_too(tmp_path: Path) -> None:
    _spoil_an_endpoint(tmp_path)
    for arguments in (["serve", "--port", "0"], ["say", "Hello."]):
        done = command(arguments, tmp_path, {"VOXGATE_API_KEY": "a-key-long-enough"})
        assert done.returncode == 2
        known = "Known: fallback, arms, sticky_by"
        assert done.stderr == f"voxgate: the policy of endpoint 'spoiled': unknown key 'split'. {known}\n"


def test_the_doctor_reads_the_endpoints_of_the_database(tmp_path: Path) -> None:
    _spoil_an_endpoint(tmp_path)
    done = command(["doctor"], tmp_path, {"VOXGATE_PORT": "0"})
    assert done.returncode == 2
    known = "Known: fallback, arms, sticky_by"
    assert f"PROBLEM  endpoint spoiled: policy: unknown key 'split'. {known}; run: voxgate" in done.stdout


@without_chatterbox
def test_a_backend_without_its_package_is_a_known_name(tmp_path: Path) -> None:
    changes = {"VOXGATE_PORT": "0", "VOXGATE_ENDPOINTS__A__BACKEND": "chatterbox"}
    done = command(["doctor"], tmp_path, changes)
    assert done.returncode == 0, done.stdout
    assert "warning  chatterbox: missing: " in done.stdout


@without_chatterbox
def test_the_kit_says_that_a_backend_is_missing_and_what_installs_it(tmp_path: Path) -> None:
    done = command(["backends", "test", "chatterbox"], tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("voxgate: backend chatterbox is missing: ")
    assert line.endswith("(pip install 'voxgate[chatterbox]')")


def test_the_kit_takes_a_backends_settings_from_the_environment(tmp_path: Path) -> None:
    changes = {"VOXGATE_PLUGINS": "scripted", "VOXGATE_BACKENDS__SCRIPTED__LANGUAGES": "en-US,de"}
    done = command(["backends", "test", "scripted"], tmp_path, changes)
    assert done.returncode == 0, done.stdout
    assert "FAILED" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--backend", "nope", "--voice", "nobody"], "--backend: no installed package registers the backend 'nope'"),
        (["--fallback", "hibary"], "--fallback: no installed package registers the backend 'hibary', did you mean"),
        (["--language", "xx123"], "--language: language must be a BCP 47 tag such as 'en'"),
        (["--backend", "hibari", "--voice", "nobody"], "hibari has no voice 'nobody'; it has: default, heart"),
        (["--backend", "hibari", "--language", "de"], "hibari speaks en-US, not 'de'"),
        (["--backend", "hibari", "--voice", "a", "--fallback", "hibari"], "hibari has no voice 'a'"),
    ],
)
def test_an_endpoint_that_could_never_speak_is_not_made(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = command(["endpoints", "create", "zz", *arguments], tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"voxgate: {words}")
    assert json.loads(command(["endpoints", "list", "--json"], tmp_path).stdout) == []


def test_an_endpoint_may_ask_for_what_only_its_fallback_can_speak(tmp_path: Path) -> None:
    arguments = ["endpoints", "create", "german", "--backend", "hibari", "--language", "de", "--fallback", "scripted"]
    done = command(arguments, tmp_path, {"VOXGATE_PLUGINS": "hibari,scripted"})
    assert done.returncode == 0, done.stderr


def test_an_endpoint_may_ask_for_a_voice_that_is_still_to_be_made(tmp_path: Path) -> None:
    scripted = {"VOXGATE_PLUGINS": "scripted"}
    arguments = ["endpoints", "create", "mine", "--backend", "scripted", "--voice", "my-own"]
    assert command(arguments, tmp_path, scripted).returncode == 2
    cloning = {**scripted, "VOXGATE_BACKENDS__SCRIPTED__CLONING": "yes"}
    assert command(arguments, tmp_path, cloning).returncode == 0
