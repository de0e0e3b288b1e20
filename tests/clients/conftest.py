from __future__ import annotations

import subprocess
from collections.abc import Iterator

import httpx
import pytest
from support.clients import CLIENTS, DRIVERS, ROOT, Driver, driving
from support.command import VOXGATE, Served, serving_command


@pytest.fixture(scope="session")
def clients() -> None:
    """The clients are installed; as good as nothing to do where `make test` has done it."""
    done = subprocess.run([ROOT / "scripts" / "clients"], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A real `voxgate serve`, with a backend that fails, hangs and dawdles as it is asked."""
    folder = tmp_path_factory.mktemp("judged")
    settings = {"VOXGATE_PLUGINS": "scripted", "VOXGATE_JOBS__MAX_RUNNING": "2", "VOXGATE_LOG_LEVEL": "error"}
    with serving_command(VOXGATE, folder, settings) as served:
        yield served


@pytest.fixture(scope="package")
def http(server: Served) -> Iterator[httpx.Client]:
    """Plain HTTP to the same server, to bring about what a client is to meet."""
    with httpx.Client(
        base_url=f"{server.url}/v2", headers={"Authorization": f"Bearer {server.key}"}, timeout=60, trust_env=False
    ) as client:
        yield client


@pytest.fixture(scope="package")
def python_client(clients: None, server: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """The package `runpod`."""
    program = [str(CLIENTS / "bin" / "python"), str(DRIVERS / "runpod_python.py")]
    environment = {"RUNPOD_ENDPOINT_BASE_URL": f"{server.url}/v2", "KEY": server.key}
    with driving(program, tmp_path_factory.mktemp("python"), environment) as driver:
        yield driver


@pytest.fixture(scope="package")
def js_client(clients: None, server: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """The package `runpod-sdk`."""
    program = [str(CLIENTS / "bin" / "node"), str(DRIVERS / "runpod_js.mjs")]
    environment = {"BASE": f"{server.url}/v2", "KEY": server.key}
    with driving(program, tmp_path_factory.mktemp("js"), environment) as driver:
        yield driver


@pytest.fixture(scope="package")
def openai_python(clients: None, server: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """The package `openai`."""
    program = [str(CLIENTS / "bin" / "python"), str(DRIVERS / "openai_python.py")]
    with driving(program, tmp_path_factory.mktemp("openai"), {"BASE": server.url, "KEY": server.key}) as driver:
        yield driver


@pytest.fixture(scope="package")
def openai_js(clients: None, server: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """The npm package `openai`."""
    program = [str(CLIENTS / "bin" / "node"), str(DRIVERS / "openai_js.mjs")]
    with driving(program, tmp_path_factory.mktemp("openai-js"), {"BASE": server.url, "KEY": server.key}) as driver:
        yield driver
