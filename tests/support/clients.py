"""Runs vendor clients, each in its own program; requests and results are one line of JSON each."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = ROOT / ".venv-clients"
DRIVERS = ROOT / "tests" / "clients" / "drivers"
GUARD_S = 60.0


class ClientError(Exception):
    """An error that the client raised: the name of its class, and its message."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(f"{kind}: {words}")
        self.kind = kind
        self.words = words


class Driver:
    """A running driver."""

    def __init__(self, process: subprocess.Popen[str], program: str) -> None:
        self._process = process
        self.program = program
        self._answers: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # the clients themselves print to the same stream
                self._answers.put(line)
        self._answers.put('{"kind": "Gone", "words": "the driver ended"}')

    def __call__(self, scenario: str, **arguments: Any) -> Any:
        """Run a scenario and return its result.

        Raises:
            ClientError: the client raised.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([scenario, arguments]) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._answers.get(timeout=GUARD_S))
        if "kind" in answer:
            raise ClientError(answer["kind"], answer["words"])
        return answer["value"]


def tools_first(changes: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which `node`, `jq` and `python` are those of the clients."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("VOXGATE_", "RUNPOD_"))}
    return {**plain, "PATH": f"{CLIENTS / 'bin'}:{os.environ['PATH']}", **changes}


@contextlib.contextmanager
def driving(program: list[str], folder: Path, changes: Mapping[str, str]) -> Iterator[Driver]:
    """Run a driver until the end of the `with`."""
    process = subprocess.Popen(
        program,
        cwd=folder,
        env=tools_first({"HOME": str(folder), **changes}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Driver(process, Path(program[-1]).stem)
    finally:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        try:
            process.wait(GUARD_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
