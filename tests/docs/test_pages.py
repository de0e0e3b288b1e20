"""The commands and examples in the pages work, and links lead to existing targets."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import KEY, VOXGATE, Served, environment, serving_command

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
RUN = [ROOT / "README.md", ROOT / "docs" / "quickstart.md", ROOT / "docs" / "coming-from-runpod.md"]
STREAMING = ROOT / "docs" / "streaming.md"
SUBTITLES, PRONUNCIATIONS = ROOT / "docs" / "subtitles.md", ROOT / "docs" / "pronunciations.md"
OPERATIONS = ROOT / "docs" / "operations.md"
PLUGINS = ROOT / "docs" / "plugin-authors.md"

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def _blocks(page: Path, language: str) -> list[str]:
    return [code for kind, code in _BLOCK.findall(page.read_text(encoding="utf-8")) if kind == language]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def _anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    prose = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    headings = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line) for line in re.findall(r"^#+ (.*)$", prose, re.MULTILINE))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_into_a_page_meets_a_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        assert anchor in _anchors(page.parent / target if target else page), f"{target}#{anchor}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, rest = set(), [ROOT / "README.md"]
    while rest:
        page = rest.pop()
        if page.suffix == ".md" and page not in reached:
            reached.add(page)
            targets = re.findall(r"\]\(([^)#:]+)", page.read_text(encoding="utf-8"))
            rest += [(page.parent / target).resolve() for target in targets]
    assert set(PAGES) <= reached


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_code_block_says_what_it_is(page: Path) -> None:
    kinds = {kind for kind, _ in _BLOCK.findall(page.read_text(encoding="utf-8"))}
    assert kinds <= {"sh", "bash", "python", "js", "toml", "text"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_is_asked_for_targets_it_has(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = page.read_text(encoding="utf-8")
    asked = re.findall(r"^make ([a-z-]+)$", "".join(_blocks(page, "sh")), re.MULTILINE)
    assert set(asked) | set(re.findall(r"`make ([a-z-]+)`", text)) <= targets


def test_the_picture_is_a_picture() -> None:
    picture = ElementTree.parse(ROOT / "docs" / "voxgate.svg").getroot()
    assert picture.tag.endswith("svg")
    assert picture.find("{http://www.w3.org/2000/svg}title") is not None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving_command(VOXGATE, tmp_path_factory.mktemp("pages")) as served:
        yield served


def _run(program: list[str], code: str, server: Served, folder: Path) -> subprocess.CompletedProcess[str]:
    """As a reader would, with the command on the path and the server where this one is."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [*program, code.replace("http://127.0.0.1:8000", server.url)],
        cwd=folder,
        env=environment(server.data_dir, {"VOXGATE_API_KEY": KEY, "PATH": path}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.mark.slow
@pytest.mark.parametrize("page", [*RUN, STREAMING, SUBTITLES], ids=lambda page: page.name)
def test_every_python_block_runs(page: Path, server: Served, tmp_path: Path) -> None:
    blocks = _blocks(page, "python")
    assert blocks
    for code in blocks:
        _run([sys.executable, "-c"], code, server, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("page", [*RUN[:2], OPERATIONS, PRONUNCIATIONS], ids=lambda page: page.name)
def test_every_shell_block_runs(page: Path, server: Served, tmp_path: Path) -> None:
    blocks = _blocks(page, "bash")
    assert blocks
    for code in blocks:
        printed = _run(["bash", "-euo", "pipefail", "-c"], code, server, tmp_path).stdout
        assert '"error"' not in printed


@pytest.mark.slow
def test_the_backend_of_the_plugin_page_keeps_the_contract(tmp_path: Path) -> None:
    (code,) = _blocks(PLUGINS, "python")
    (tmp_path / "my_package.py").write_text(code)
    check = (
        "from backends.testing.conformance import check; from my_package import ToneBackend; "
        "print([finding for finding in check(ToneBackend) if not finding.ok])"
    )
    done = subprocess.run(
        [sys.executable, "-c", check],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("program", [[sys.executable, "speak.py"], ["node", "speak.mjs"]], ids=["python", "node"])
def test_every_example_client_speaks(program: list[str], server: Served, tmp_path: Path) -> None:
    if shutil.which(program[0]) is None:
        pytest.skip(f"{program[0]} is not installed here")
    done = subprocess.run(
        [program[0], str(ROOT / "examples" / program[1]), "Hello from an example.", "out.wav"],
        cwd=tmp_path,
        env=environment(server.data_dir, {"VOXGATE_API_KEY": KEY, "VOXGATE_URL": server.url}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.wav").read_bytes().startswith(b"RIFF")
