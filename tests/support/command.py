"""Runs the real command as a child process."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import IO

from gateway.cli.run import root, run

VOXGATE = [sys.executable, "-m", "voxgate"]
KEY = "a-key-for-tests-of-the-command"
_ANNOUNCEMENT = "voxgate listens on "
_STOP_S = 60
_COMMAND_S = 180


@dataclass(frozen=True)
class Served:
    """A running `voxgate serve`."""

    url: str
    key: str
    data_dir: Path
    process: subprocess.Popen[str]
    log: list[str]

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_S)


def environment(data_dir: Path, changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment for a command with no settings but the test's."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("VOXGATE_")}
    return {**plain, "VOXGATE_DATA_DIR": str(data_dir), **(changes or {})}


def command(
    arguments: Sequence[str], folder: Path, changes: Mapping[str, str] | None = None, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end in `folder`, with its data in `folder/data`."""
    return forked(arguments, folder, environment(folder / "data", changes), stdin)


def forked(
    arguments: Sequence[str], folder: Path, variables: Mapping[str, str], stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with only these variables in its environment.

    The command is forked from a process that has imported the command line and done nothing else: the imports take nine
    tenths of the time of most commands, and tests run hundreds of them. A new Python is started, as in
    `serving_command`, if PYTHONPATH is to be another one.
    """
    if variables.get("PYTHONPATH") != os.environ.get("PYTHONPATH"):
        return subprocess.run(
            [*VOXGATE, *arguments], cwd=folder, env=variables, input=stdin or "", capture_output=True, text=True,
            check=False, timeout=_COMMAND_S,
        )  # fmt: skip
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write((stdin or "").encode())
        given.seek(0)
        paths = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (given, out, err)]
        child = _forks().Process(target=_run, args=(list(arguments), str(folder), dict(variables), *paths))
        child.start()
        child.join(_COMMAND_S)
        if child.is_alive():
            child.kill()
            child.join()
            raise subprocess.TimeoutExpired(list(arguments), _COMMAND_S)
        assert child.exitcode is not None
        return subprocess.CompletedProcess(list(arguments), child.exitcode, _text(out), _text(err))


@functools.cache
def _forks() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    commands = [place.partition(":")[0] for place, _ in root.places.values()]
    context.set_forkserver_preload(["support.command", "gateway.app", "gateway.api", *commands])
    return context


def _run(arguments: list[str], folder: str, variables: dict[str, str], given: str, out: str, err: str) -> None:
    """Run the command in the forked child."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    for name, descriptor, flags in ((given, 0, os.O_RDONLY), (out, 1, os.O_WRONLY), (err, 2, os.O_WRONLY)):
        os.dup2(os.open(name, flags), descriptor)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - a process of multiprocessing has none
    sys.exit(run(arguments))


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


@contextlib.contextmanager
def serving_command(program: Sequence[str], folder: Path, changes: Mapping[str, str] | None = None) -> Iterator[Served]:
    """Run `voxgate serve` on a free port until the end of the `with`."""
    data_dir = folder / "data"
    process = subprocess.Popen(
        [*program, "serve", "--port", "0"],
        cwd=folder,
        env=environment(data_dir, {"VOXGATE_API_KEY": KEY, **(changes or {})}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log: list[str] = []
    assert process.stdout is not None and process.stderr is not None
    reader = threading.Thread(target=log.extend, args=(process.stderr,), daemon=True)
    reader.start()
    try:
        line = process.stdout.readline()
        if not line.startswith(_ANNOUNCEMENT):
            process.wait(_STOP_S)
            reader.join(5)
            raise AssertionError(f"it did not start: {''.join(log)[-2000:]}")
        yield Served(line.removeprefix(_ANNOUNCEMENT).strip(), KEY, data_dir, process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdout.close()
        reader.join(5)
        process.stderr.close()
