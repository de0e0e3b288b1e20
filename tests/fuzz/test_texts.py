"""The properties of the text path, on texts by hypothesis, by atheris, and by the people who found the first faults."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hostile import EXAMPLES, RAW_INPUTS, examples, inputs, texts
from support.textpath import RULES, check_request, check_text

from gateway.speech.text.cleaning import clean
from gateway.speech.text.plan import make_plan
from gateway.speech.text.spell import spell_out

pytestmark = pytest.mark.soak

ROOT = Path(__file__).resolve().parents[2]
HARNESS = ROOT / "tests" / "fuzz" / "atheris_text.py"
FUZZERS = ROOT / ".venv-fuzz"


@given(texts, st.integers(0, 29))
@examples(150)
def test_every_text_is_planned_whole_within_the_rules(text: str, nth: int) -> None:
    check_text(text, nth)


@given(inputs)
@examples(150)
def test_every_input_is_a_request_or_refused_in_words(given_input: dict[str, Any]) -> None:
    check_request(json.dumps(given_input).encode())
    check_request(json.dumps({"input": given_input}, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=300))
@examples(150)
def test_every_row_of_bytes_is_a_request_or_refused_in_words(raw: bytes) -> None:
    check_request(raw)


@pytest.mark.parametrize("raw", RAW_INPUTS, ids=range(len(RAW_INPUTS)))
def test_what_is_nearly_a_request_is_one_or_refused_in_words(raw: bytes) -> None:
    check_request(raw)


def test_the_harness_replays_what_it_knows_without_atheris() -> None:
    sys.path.insert(0, str(HARNESS.parent))
    try:
        import atheris_text
    finally:
        sys.path.pop(0)
    assert atheris_text.replay(max(100, EXAMPLES)) > 100


@pytest.mark.slow
def test_atheris_finds_no_input_that_breaks_a_property(tmp_path: Path) -> None:
    subprocess.run([ROOT / "scripts" / "fuzzers"], check=True, timeout=600)
    python = FUZZERS / "bin" / "python"
    runs = max(1500, 20 * EXAMPLES)
    found = subprocess.run(
        [python, HARNESS, f"-runs={runs}", "-seed=1", f"-artifact_prefix={tmp_path}/"], capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr[-3000:]
    assert f"Done {runs} runs" in found.stderr or "atheris is not installed" in found.stdout


GROWING = {
    "prose": "The quick brown fox jumps over the lazy dog, and then? ",
    "paragraphs": "One line.\n\n",
    "verses": "a line of verse\n",
    "no space": "a",
    "words": "word ",
    "chinese": "你好世界。",
    "chinese without marks": "你好",
    "arabic": "مرحبا بالعالم، ",
    "flags": "🇩🇪",
    "families": "👩‍👩‍👧‍👦",
    "marks": "!? ",
    "combining marks": "\u0301\u0323",
    "joiners": "\u200d",
    "overrides": "[a](/b/) ",
    "brackets": "[(",
    "escapes": "\x1b[31m",
    "figures": "$1,234.56 on 12/31/2026 at 5:30, ",
    "digits": "7",
    "abbreviations": "Mr. ",
    "direction marks": "\u202eab\u202c ",
}


def steps(work: Callable[[], Any]) -> int:
    """Lines of our own code that a piece of work runs through."""
    count = 0

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return line

    def call(frame: FrameType, event: str, argument: Any) -> Any:
        return line if "/gateway/speech/" in frame.f_code.co_filename else None

    sys.settrace(call)
    try:
        work()
    finally:
        sys.settrace(None)
    return count


@pytest.mark.parametrize("name", GROWING)
def test_twice_the_text_takes_twice_the_steps(name: str) -> None:
    def work(text: str) -> Callable[[], Any]:
        return lambda: (clean(text), make_plan(text, "en", RULES[0]), spell_out(clean(text), "en"))

    once = GROWING[name] * (6_000 // len(GROWING[name]))
    work(once)()  # what is cached, is cached
    small, large = steps(work(once)), steps(work(once * 4))
    assert 0 < large <= 4.5 * small + 500, (small, large)
    chunks = [len(make_plan(text, "en", RULES[0]).speaks) for text in (once, once * 4)]
    assert chunks[1] <= 4.5 * chunks[0] + 4
