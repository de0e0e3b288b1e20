"""The examples in docs/coming-from-openai.md work with OpenAI's own clients."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from support.clients import CLIENTS, ROOT, tools_first
from support.command import Served

PAGE = ROOT / "docs" / "coming-from-openai.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PROGRAMS = {"python": ["python", "-c"], "js": ["node", "--input-type=module", "-e"], "bash": ["bash", "-euc"]}
CODE = [block for block in _BLOCK.findall(PAGE.read_text(encoding="utf-8")) if block[0] in PROGRAMS]


@pytest.mark.slow
@pytest.mark.parametrize(("language", "code"), CODE, ids=[language for language, _ in CODE])
def test_every_block_of_the_page_speaks(
    clients: None, server: Served, tmp_path: Path, language: str, code: str
) -> None:
    (tmp_path / "node_modules").symlink_to(ROOT / "tests" / "clients" / "node_modules")
    program, *flags = PROGRAMS[language]
    own = CLIENTS / "bin" / program
    done = subprocess.run(
        [str(own) if own.exists() else program, *flags, code.replace("http://127.0.0.1:8000", server.url)],
        cwd=tmp_path,
        env=tools_first({"VOXGATE_API_KEY": server.key}),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    (made,) = tmp_path.glob("hello*")
    assert made.stat().st_size > 1_000
