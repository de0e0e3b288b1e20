"""The reference pages tell what the code does: every setting, metric, error, command, and key of a request."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import click
import msgspec
import pytest

from gateway.cli.run import root
from gateway.engines.scale import HostSettings
from gateway.settings import describe
from gateway.settings.load import NOT_SETTINGS, load_settings
from gateway.speech.request import SpeechRequest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "scripts" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["settings.md", "metrics.md", "errors.md", "cli.md"])
def test_the_tables_are_those_the_code_makes(reference: ModuleType, page: str) -> None:
    assert reference.renewed(page) == _page(page), f"docs/{page} is stale; run: make docs"


def test_every_setting_and_its_variable_is_documented() -> None:
    page = _page("settings.md")
    for setting in describe():
        assert f"`{setting.env}`" in page
        assert setting.description.replace("|", "\\|") in page
        if setting.alias:
            assert f"| `{setting.alias}` | `{setting.name}` |" in page


def test_every_key_of_a_host_is_documented() -> None:
    page = _page("settings.md")
    for field in msgspec.structs.fields(HostSettings):
        assert re.search(rf"^\| `{field.name}` \| .+ \| .+ \|$", page, re.MULTILINE), field.name


def test_the_example_of_the_settings_page_is_one(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", _page("settings.md"), re.DOTALL)
    path = tmp_path / "voxgate.toml"
    path.write_text(block)
    settings = load_settings(env={}, toml_path=path)
    assert settings.endpoints["narrator"].speed == 0.9


def test_the_precedence_table_is_what_happens(tmp_path: Path) -> None:
    path = tmp_path / "voxgate.toml"
    path.write_text('device = "cuda:3"\n')
    everything = {"VOXGATE_DEVICE": "cuda:1", "DEVICE": "cuda:2"}
    assert load_settings(everything, path, {"device": "cpu"}).device == "cpu"
    assert load_settings(everything, path).device == "cuda:1"
    assert load_settings({"DEVICE": "cuda:2"}, path).device == "cuda:2"
    assert load_settings({}, path).device == "cuda:3"
    path.write_text("")
    assert load_settings({}, path).device == "auto"
    rows = re.findall(r"^\| [1-5] \| (.*?) \|", _page("settings.md"), re.MULTILINE)
    assert [row.split()[1] for row in rows] == ["flag", "variable", "variable", "in", "default"]


def test_variables_that_are_no_settings_of_the_server_are_named_too() -> None:
    pages = _page("settings.md") + (ROOT / "Makefile").read_text()
    for name in NOT_SETTINGS:
        assert name in pages


def test_every_command_is_documented() -> None:
    page = _page("cli.md")

    def walk(command: click.Command, path: str) -> None:
        context = click.Context(command)
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                walk(child, f"{path} {name}")
        assert command is root or f"### `{path}" in page, path

    walk(root, "voxgate")


def test_every_key_of_a_request_is_documented() -> None:
    page = _page("quickstart.md")
    for field in msgspec.structs.fields(SpeechRequest):
        assert f"| `{field.encode_name}` |" in page, field.encode_name
