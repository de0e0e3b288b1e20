"""The reference pages tell what the code does: every setting, metric, error, command, and key of a request."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import get_args

import click
import msgspec
import pytest

from gateway.api.openai.errors import CODES, RENAMED, Code, error_of
from gateway.cli.run import root
from gateway.engines.scale import HostSettings
from gateway.settings import describe
from gateway.settings.load import NOT_SETTINGS, load_settings
from gateway.speech.request import SpeechInput

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


@pytest.mark.parametrize("page", ["settings.md", "metrics.md", "errors.md", "coming-from-openai.md", "cli.md"])
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


def _codes_of(page: str) -> set[str]:
    return set(re.findall(r"^\| `(\w+)` \| \d{3} \| .+ \|$", _page(page), re.MULTILINE))


def _codes_written_in(source: str) -> set[str]:
    """Every string that is used as an error's code: of a class, as a default, in a call, in SQL."""
    found = set(re.findall(r"error_code = '(\w+)'", source))
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
                if any(isinstance(target, ast.Name) and target.id == "code" for target in targets):
                    found |= _strings(getattr(line, "value", None))
        elif isinstance(node, ast.Assign) and any(_name(target) in _CODE for target in node.targets):
            found |= _strings(node.value)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            every = node.args.posonlyargs + node.args.args
            defaults = [*zip(every[::-1], node.args.defaults[::-1], strict=False)]
            defaults += zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            for argument, default in defaults:
                found |= _strings(default) if argument.arg in _CODE else set()
        elif isinstance(node, ast.Call):
            for keyword in node.keywords:
                found |= _strings(keyword.value) if keyword.arg in _CODE else set()
            place = _PLACES.get(_name(node.func) or "")
            if place is not None and len(node.args) > place:
                found |= _strings(node.args[place])
    return found


_CODE = {"code", "error_code", "refusal", "job_code"}
_PLACES = {"Refused": 2, "error_of": 2, "openai_error": 2, "JobEnded": 1, "fail": 5, "_told": 3}
"""Position of the error code among a call's arguments, where it is not passed by name."""


def _name(node: ast.AST | None) -> str | None:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None


def _strings(node: ast.AST | None) -> set[str]:
    """The strings an expression may be; `x if y in ("a", "b") else z` is x or z."""
    if isinstance(node, ast.IfExp):
        return _strings(node.body) | _strings(node.orelse)
    if isinstance(node, ast.BoolOp):
        return set().union(*map(_strings, node.values))
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def test_every_code_an_error_can_have_is_documented() -> None:
    documented = _codes_of("errors.md") | _codes_of("coming-from-openai.md")
    files = [path for room in ("gateway", "storage", "backends") for path in (ROOT / room).rglob("*.py")]
    written = {code for path in files for code in _codes_written_in(path.read_text(encoding="utf-8"))}
    assert {"invalid_json", "ttl_expired", "worker_lost", "timed_out", "cancelled"} <= written
    assert written <= documented, f"told to callers and documented nowhere: {sorted(written - documented)}"


def test_every_code_of_openais_api_is_documented_beside_it() -> None:
    assert set(get_args(Code)) == set(CODES) == _codes_of("coming-from-openai.md")
    assert set(RENAMED) <= _codes_of("errors.md")
    for status in range(400, 600):
        code = error_of(status, "refused by the server itself").code
        assert code is None or code in _codes_of("coming-from-openai.md") | _codes_of("errors.md")


@pytest.mark.parametrize(
    "source",
    [
        'raise Refused("words", "param", "news")',
        'raise Refused("words", code="news")',
        'class Odd(Exception):\n    code: ClassVar[str] = "news"',
        'def expire(self, reason: str, code: str = "news") -> None: ...',
        'await endings.end(run, state, "words", code="news" if odd else known, by_input=False)',
        "SQL = \"UPDATE jobs SET error_code = 'news'\"",
        'found.refusal = "news"',
    ],
)
def test_a_new_code_is_noticed_wherever_it_is_written(source: str) -> None:
    assert _codes_written_in(source) == {"news"}


def test_every_key_of_a_request_is_documented() -> None:
    page = _page("quickstart.md")
    for key in SpeechInput.__struct_fields__:
        assert f"| `{key}` |" in page, key
