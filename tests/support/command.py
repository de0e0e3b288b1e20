"""The real command, run as a child process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

VOXGATE = [sys.executable, "-m", "voxgate"]
KEY = "a-key-for-tests-of-the-command"
_ANNOUNCEMENT = "voxgate listens on "
_STOP_S = 60


@dataclass(frozen=True)
class Served:
    """A running `voxgate serve`."""

    url: str
    key: str
    data_dir: Path
    process: subprocess.Popen[str]
    log: list[str]

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_S)


def environment(data_dir: Path, changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a command that must see no settings but the test's."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("VOXGATE_")}
    return {**plain, "VOXGATE_DATA_DIR": str(data_dir), **(changes or {})}


def command(
    arguments: Sequence[str], folder: Path, changes: Mapping[str, str] | None = None, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end in `folder`, with its data in `folder/data`."""
    return subprocess.run(
        [*VOXGATE, *arguments],
        cwd=folder,
        env=environment(folder / "data", changes),
        input=stdin,
        stdin=None if stdin is not None else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


@contextlib.contextmanager
def serving_command(program: Sequence[str], folder: Path, changes: Mapping[str, str] | None = None) -> Iterator[Served]:
    """`voxgate serve` on a free port until the end of the `with`."""
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
