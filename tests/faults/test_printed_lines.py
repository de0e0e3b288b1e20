"""Output that libraries print, in workers and in the server, becomes lines of the log."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from support.after import sound_of
from support.lines import Lines, logged
from support.served import site

from gateway.engines.dsp import Dsp
from gateway.engines.errors import ChunkRefused

PRINTS = r"""
import os, sys, threading, time, warnings

def beside():
    while not os.path.exists(os.path.join(os.path.dirname(__file__), "now")):
        time.sleep(0.05)
    print("a library prints in the server", file=sys.stderr)
    warnings.warn("a library warns in the server")
    raise RuntimeError("a thread of the server ends")

if "gateway.engines.worker" in sys.orig_argv:
    print("'HTTP Error 503' thrown while requesting HEAD\nRetrying in 1s [Retry 1/5].", file=sys.stderr)
    for percent in range(101):
        os.write(2, b"\rmodel.bin: %d %%" % percent)
    os.write(2, b"\nno UTF-8: \xff, and no end")
elif "serve" in sys.orig_argv:
    threading.Thread(target=beside, daemon=True).start()
"""


@pytest.mark.slow
async def test_every_line_of_a_json_log_is_json_whatever_libraries_print(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(PRINTS)
    async with site(tmp_path, log_format="json") as place:
        place.prefix = ["env", f"PYTHONPATH={tmp_path}"]
        served = await place.start()
        sound_of(await served.caller.say("Speak while they print."))
        (tmp_path / "now").touch()
        while "a thread of the server ends" not in served.log.read_text():
            await asyncio.sleep(0.05)
        assert await served.stop() == 0
    lines = [json.loads(line) for line in served.log.read_text().splitlines()]
    printed = {line["process"]: [] for line in lines if line["event"] == "printed"}
    for line in lines:
        if line["event"] == "printed":
            printed[line["process"]].append(line["line"])
    assert printed["worker"] == [
        "'HTTP Error 503' thrown while requesting HEAD",
        "Retrying in 1s [Retry 1/5].",
        "model.bin: 100 %",
        "no UTF-8: \ufffd, and no end",
    ]
    assert "a library prints in the server" in printed["server"]
    assert "RuntimeError: a thread of the server ends" in printed["server"]
    assert any("a library warns in the server" in line["event"] for line in lines)


@pytest.mark.slow
async def test_a_start_that_fails_says_so_in_a_line_of_json(tmp_path: Path) -> None:
    async with site(tmp_path, log_format="json", database__url="postgresql://nobody@127.0.0.1:1/nothing") as place:
        served = place.spawn()
        assert await served.ended() == 2
    (line,) = map(json.loads, served.log.read_text().splitlines())
    assert (line["event"], line["line"][:9]) == ("printed", "voxgate: ")


def say(words: str) -> int:
    print(words, file=sys.stderr, flush=True)
    return os.getpid()


def say_and_die(words: str) -> None:
    os.write(2, words.encode())
    os.kill(os.getpid(), signal.SIGKILL)


async def printed(lines: Lines, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        while len(found := lines.of("printed")) < count:
            await asyncio.sleep(0.01)
    return found


async def test_a_line_says_which_process_printed_it_and_no_key_that_was_in_it() -> None:
    with logged() as lines:
        dsp = Dsp()
        pid = await dsp.run(say, "token vg_prod_0123456789abcdef_c2VjcmV0LXNlY3JldC1zZWNyZXQ is used")
        (line,) = await printed(lines, 1)
        await dsp.stop()
    assert (line["process"], line["pid"], line["level"]) == ("dsp", pid, "warning")
    assert "used" in line["line"] and "c2VjcmV0" not in line["line"]


async def test_the_last_words_of_a_process_that_dies_are_in_the_log_though_the_line_has_no_end() -> None:
    with logged() as lines:
        dsp = Dsp()
        with pytest.raises(ChunkRefused):
            await dsp.run(say_and_die, "Fatal Python error: it ends")
        assert [line["line"] for line in lines.of("printed")] == ["Fatal Python error: it ends"]
        await dsp.stop()
