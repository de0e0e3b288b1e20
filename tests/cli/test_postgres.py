"""On PostgreSQL the operator migrates; `serve` names the command and then serves."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.command import VOXGATE, command, serving_command
from support.postgres import postgres_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def settings() -> Iterator[dict[str, str]]:
    with postgres_server() as url:
        yield {"VOXGATE_DATABASE__URL": url, "VOXGATE_PLUGINS": "scripted"}


def test_serve_refuses_names_the_command_and_serves_after_it(settings: dict[str, str], tmp_path: Path) -> None:
    refused = command(["serve", "--port", "0"], tmp_path, settings)
    assert refused.returncode == 2
    assert len(refused.stderr.strip().splitlines()) == 1
    assert refused.stderr.strip().endswith("run: voxgate db upgrade")

    upgraded = command(["db", "upgrade"], tmp_path, settings)
    assert upgraded.stdout.startswith("upgraded from nothing")
    backup = command(["db", "backup"], tmp_path, settings)
    assert backup.returncode == 2
    assert "pg_dump" in backup.stderr

    with serving_command(VOXGATE, tmp_path, settings) as server:
        headers = {"Authorization": f"Bearer {server.key}"}
        body = {"input": {"text": "Spoken from PostgreSQL."}}

        def speak(endpoint: str) -> httpx.Response:
            url = f"{server.url}/v2/{endpoint}/runsync"
            return httpx.post(url, headers=headers, json=body, timeout=60, trust_env=False)

        assert speak("default").json()["status"] == "COMPLETED"
        unknown = speak("narrator")
        assert unknown.status_code == 404
        assert "voxgate endpoints create" in unknown.json()["error"]
        assert command(["endpoints", "create", "narrator"], tmp_path, settings).returncode == 0
        made = speak("narrator")
        for _ in range(100):
            if made.status_code == 200:
                break
            time.sleep(0.1)  # servers look for changes twice a second
            made = speak("narrator")
        assert made.json()["output"]["cache_hit"]
    (row,) = json.loads(command(["usage", "--by", "backend", "--json"], tmp_path, settings).stdout)
    assert (row["jobs"], row["cache_hits"]) == (2, 1)
    assert command(["doctor"], tmp_path, {**settings, "VOXGATE_PORT": "0"}).returncode == 0


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    gone = {"VOXGATE_DATABASE__URL": "postgresql://voxgate:hush@127.0.0.1:1/voxgate"}
    done = command(["serve", "--port", "0"], tmp_path, gone)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "hush" not in done.stderr
    assert "Background" not in done.stderr
