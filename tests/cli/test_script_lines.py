"""A script of many lines is read whole, and each wrong line says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command import command
from support.scripts import lines_of

from gateway.cli.script.lines import COLUMNS, read_script
from gateway.errors import BadRequest, InvalidInput


@pytest.mark.parametrize(
    ("name", "script", "words"),
    [
        ("a.csv", "txet\nhello\n", "line 1: unknown column 'txet'; did you mean text?"),
        ("a.csv", "name\nhello\n", "names no column text"),
        (
            "a.csv",
            "text,speaker\na,Ann\nb,Bob\nc,Cy\n",
            "no voice for 'Bob' (line 3), 'Cy' (line 4); add --voice-map Bob=VOICE",
        ),
        ("a.txt", "\n\n", "holds no text to speak"),
        ("a.docx", "a", "a script must be .csv, .jsonl or .txt"),
    ],
)
def test_a_script_that_is_wrong_as_a_whole_is_refused_before_anything_is_spoken(
    tmp_path: Path, name: str, script: str, words: str
) -> None:
    (tmp_path / name).write_text(script)
    with pytest.raises(BadRequest) as raised:
        read_script(tmp_path / name, {}, {"Ann": "default"})
    assert words in str(raised.value)
    done = command(["batch", name, "-o", "out", "--voice-map", "Ann=default"], tmp_path)
    assert done.returncode == 2 and words in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shared", [{"speed": 9.0}, {"speed": float("nan")}, {"seed": -1}, {"language": "\udcff"}])
def test_what_no_line_can_have_is_refused_once(tmp_path: Path, shared: dict[str, object]) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    with pytest.raises(InvalidInput, match=next(iter(shared))):
        read_script(tmp_path / "a.txt", shared, {})


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("a.csv", "hello, you,,", "more cells than the head has; quote a text with commas"),
        ("a.csv", "hello,fast", 'speed must be a number between 0.5 and 2.0, got "fast"'),
        ("a.csv", "hello,nan", "speed must be between 0.5 and 2.0, got NaN"),
        ("a.csv", "hello,,../up", "name '../up' cannot be a file name; use letters"),
        ("a.csv", f"hello,,{'ō' * 120}", "at most 200 bytes"),
        ("a.csv", "hello,,FIRST", "name 'FIRST' is already used by line 2; give this line another name"),
        ("a.csv", ",1.5", "text is missing"),
        ("a.jsonl", '["a"]', "not an object; a line is an object such as"),
        ("a.jsonl", "[" * 100_000, "not JSON: "),
        ("a.jsonl", '{"text": "a"} b', "not JSON: Extra data at character 15"),
        ("a.jsonl", '{"txet": "a"}', "unknown column 'txet'; did you mean text?"),
        ("a.jsonl", r'{"text": "\ud83d"}', "text is empty"),
        ("a.jsonl", '{"text": ' + "[" * 900 + "]" * 900 + "}", "'text' is a list; it must be a string or a number"),
        ("a.jsonl", '{"text": null}', "text is missing"),
        ("a.jsonl", '{"text": "a", "speaker": true}', "speaker must be a string, got True"),
        ("a.jsonl", '{"text": "a", "speed": 1e999}', "speed must be between 0.5 and 2.0, got Infinity"),
        ("a.jsonl", '{"text": "a", "seed": 1.5}', "seed must be a whole number between 0 and"),
        ("a.jsonl", '{"text": "a", "seed": ' + "9" * 5_000 + "}", "not JSON: "),
        ("a.jsonl", '{"text": "a", "language": 5}', "language must be a BCP 47 tag such as 'en'"),
    ],
    ids=range(19),
)
def test_a_wrong_line_says_what_is_wrong_and_leaves_the_others(
    tmp_path: Path, name: str, line: str, words: str
) -> None:
    around = (
        ("text,speed,name\nbefore,,first\n", "after")
        if name == "a.csv"
        else ('\n{"text": "before"}\n', '{"text": "after"}')
    )
    (tmp_path / name).write_text(f"{around[0]}{line}\n{around[1]}\n", encoding="utf-8")
    script = read_script(tmp_path / name, {}, {})
    assert [(one.number, one.text) for one in script.lines] == [(2, "before"), (4, "after")]
    ((number, why),) = [(one.number, one.why) for one in script.unusable]
    assert number == 3 and words in why and len(why) < 250


def test_a_line_that_is_wrong_keeps_its_name_until_it_is_mended(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "", "name": "x"}\n{"text": "Hello.", "name": "x"}\n')
    script = read_script(tmp_path / "a.jsonl", {}, {})
    assert not script.lines and [one.number for one in script.unusable] == [1, 2]


def test_a_cell_may_hold_a_whole_book(tmp_path: Path) -> None:
    book = "Once upon a time, " * 20_000
    (tmp_path / "a.csv").write_text(f'text,name\n"{book}",book\n')
    (line,) = lines_of(tmp_path / "a.csv")
    assert line.text == book.strip()


def test_every_column_is_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "batch.md").read_text(encoding="utf-8")
    rows = "".join(line for line in page.splitlines() if line.startswith("| `"))
    assert all(f"`{column}`" in rows for column in COLUMNS)


def test_a_script_that_is_not_utf8_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Grüße".encode("latin-1"))
    with pytest.raises(BadRequest, match="is not UTF-8"):
        read_script(tmp_path / "a.txt", {}, {})
