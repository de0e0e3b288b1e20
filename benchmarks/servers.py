"""Starts the gateway and its peers, each as a separate process on a free port of 127.0.0.1."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.report import progress

KEY = "a-key-of-the-benchmarks"
ENDPOINT = "bench"
_HERE = Path(__file__).parent
_PEERS = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "voxgate-benchmarks"
RUNPOD = "runpod==1.12.0"
_START_S = 60.0


class Server(msgspec.Struct, frozen=True):
    """A running server: process id, port, key and data folder."""

    pid: int
    port: int
    key: str = ""
    data: Path = Path()

    def of_tenant(self, tenant: str) -> Server:
        """Return the same server with a new key of this tenant."""
        command = [sys.executable, "-m", "voxgate", "keys", "create", "--tenant", tenant, "--scope", "speak"]
        environment = {**os.environ, "VOXGATE_DATA_DIR": str(self.data)}
        made = subprocess.run([*command, "--show", "--json"], env=environment, capture_output=True, check=True)
        return msgspec.structs.replace(self, key=json.loads(made.stdout)["key"])

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request outside the measurement; returns the JSON or text of the answer.

        Raises:
            RuntimeError: the status is not 200.
        """
        connection = _connection(self.port)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {data[:300]!r}")
        return json.loads(data) if answer.headers.get_content_type() == "application/json" else data.decode()

    def speak(self, text: str, **fields: Any) -> dict[str, Any]:
        """Speak through `/runsync`, wait, and return the job.

        Raises:
            RuntimeError: the job did not complete.
        """
        path = f"/v2/{ENDPOINT}/runsync?wait=300000"
        job: dict[str, Any] = self.ask("POST", path, {"input": {"text": text, **fields}})
        if job["status"] != "COMPLETED":
            raise RuntimeError(f"the job ended {job['status']}: {job.get('error')}")
        return job


@contextlib.contextmanager
def gateway(
    backend: str = "hibari", program: str = "voxgate", beside: Server | None = None, **settings: object
) -> Iterator[Server]:
    """Run `voxgate serve` in a new data folder on the disk of this checkout; settings by their variables' names.

    Args:
        program: the module that runs voxgate's command line.
        beside: another server whose data folder this one shares.

    The log goes to `results/gateway.log`; read it if the server does not start.
    """
    _HERE.joinpath("results").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=_HERE / "results", ignore_cleanup_errors=True) as folder:
        port = free_port()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VOXGATE_")}
        environment |= {
            "VOXGATE_CONFIG": str(Path(folder) / "voxgate.toml"),
            "VOXGATE_DATA_DIR": str(data := Path(folder) / "data" if beside is None else beside.data),
            "VOXGATE_API_KEY": KEY,
            "VOXGATE_PLUGINS": backend,
            "VOXGATE_LOG_LEVEL": "warning",
            **{name: str(value) for name, value in settings.items()},
        }
        Path(environment["VOXGATE_CONFIG"]).touch()
        command = [sys.executable, "-m", program, "serve", "--host", "127.0.0.1", "--port", str(port)]
        with _running(command, port, environment, _HERE / "results" / "gateway.log") as pid:
            server = Server(pid, port, KEY, data)
            server.speak("Ready.")
            yield server


@contextlib.contextmanager
def bare(answer: bytes) -> Iterator[Server]:
    """Run a bare Litestar server that returns these bytes."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(answer)
        port = free_port()
        command = [sys.executable, str(_HERE / "bare.py"), str(port), file.name]
        with _running(command, port, dict(os.environ), None) as pid:
            yield Server(pid, port)


@contextlib.contextmanager
def runpod(output: bytes) -> Iterator[Server]:
    """Run RunPod's own local API server with a handler that returns this output at once."""
    python = runpod_python()
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(output)
        port = free_port()
        command = [
            str(python), str(_HERE / "runpod_handler.py"), "--rp_serve_api", "--rp_api_port", str(port),
            "--rp_api_host", "127.0.0.1", "--rp_log_level", "ERROR",
        ]  # fmt: skip
        environment = {**os.environ, "UVICORN_LOG_LEVEL": "error", "VOXGATE_BENCH_OUTPUT": file.name}
        with _running(command, port, environment, None) as pid:
            yield Server(pid, port)


def runpod_python() -> Path:
    """Return the Python of an environment with `runpod`, and uvloop and httptools, which its server uses if present."""
    return python_with(RUNPOD, "uvloop", "httptools")


def python_with(peer: str, *others: str) -> Path:
    """Return the Python of a virtual environment with a peer, made at first use outside of this checkout.

    Args:
        peer: name and version, `name==1.2`.
        others: further packages to install.
    """
    folder = _PEERS / peer.replace("==", "-")
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        progress(f"installing {peer} into {folder}")
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", peer, *others]
        done = subprocess.run(install, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{peer} could not be installed into {folder}: {done.stderr[-2000:]}")
        (folder / "ready").touch()
    return python


_of_thread = threading.local()


def _connection(port: int) -> http.client.HTTPConnection:
    """Return the calling thread's own connection, kept alive."""
    connections: dict[int, http.client.HTTPConnection] = _of_thread.__dict__
    if port not in connections:
        connections[port] = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    return connections[port]


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _running(command: list[str], port: int, environment: dict[str, str], log: Path | None) -> Iterator[int]:
    with (log or Path(os.devnull)).open("ab") as out:
        child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        _wait_for(child, port, command)
        yield child.pid
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _wait_for(child: subprocess.Popen[bytes], port: int, command: list[str]) -> None:
    give_up = time.monotonic() + _START_S
    while time.monotonic() < give_up:
        if child.poll() is not None:
            break
        with contextlib.suppress(ConnectionError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"{' '.join(command[:3])} did not start; see benchmarks/results/gateway.log")
