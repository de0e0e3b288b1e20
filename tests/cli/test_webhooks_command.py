"""`voxgate webhooks`, after receivers took what they were sent, or did not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from support.command import KEY, VOXGATE, Served, serving_command

from gateway.cli.run import run


class Receiver(BaseHTTPRequestHandler):
    """Takes what is sent to /good."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if self.path == "/good" else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
        """Print nothing."""


@contextmanager
def receiving() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def asked(server: Served, endpoint: str, webhook: str) -> str:
    """A job, once its webhook was tried."""
    body = {"input": {"text": "Tell me."}, "webhook": webhook}
    headers = {"Authorization": f"Bearer {KEY}"}
    with httpx.Client(base_url=f"{server.url}/v2/{endpoint}", headers=headers, timeout=60) as client:
        job = str(client.post("/run", json=body).raise_for_status().json()["id"])
        end = time.monotonic() + 60
        while not client.get(f"/webhooks/{job}").raise_for_status().json()["tries"]:
            assert time.monotonic() < end
            time.sleep(0.05)
    return job


def test_what_became_of_webhooks_is_listed_and_narrowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"VOXGATE_PLUGINS": "scripted", "VOXGATE_WEBHOOK_ALLOW": "127.0.0.1", "VOXGATE_AUTO_ENDPOINTS": "true"}
    monkeypatch.setenv("VOXGATE_DATA_DIR", str(tmp_path / "data"))

    def printed(*arguments: str) -> str:
        assert run(["webhooks", "list", *arguments]) == 0
        return capsys.readouterr().out

    def listed(*arguments: str) -> list[dict[str, object]]:
        return list(json.loads(printed("--json", *arguments)))

    with receiving() as receiver, serving_command(VOXGATE, tmp_path, changes) as server:
        taken = asked(server, "one", f"{receiver}/good")
        failing = asked(server, "two", f"{receiver}/bad")
        again, once = listed()
        assert {name: once[name] for name in ("job", "url", "status", "tries", "http_status")} == {
            "job": taken, "url": f"{receiver}/good", "status": "DELIVERED", "tries": 1, "http_status": 200,
        }  # fmt: skip
        assert (again["job"], again["status"], again["http_status"]) == (failing, "PENDING", 503)
        assert int(str(again["due_ms"])) > int(str(again["created_ms"])) and "due_ms" not in once
        assert "503" in str(again["error"])
        narrowed = {
            ("--status", "DELIVERED"): [taken],
            ("--status", "PENDING"): [failing],
            ("--status", "FAILED"): [],
            ("--job", failing): [failing],
            ("--endpoint", "one"): [taken],
            ("--tenant", "default"): [failing, taken],
            ("--tenant", "nobody"): [],
            ("--limit", "1"): [failing],
        }
        for arguments, jobs in narrowed.items():
            assert [row["job"] for row in listed(*arguments)] == jobs, arguments
        table = printed().splitlines()
        assert table[0].split()[:6] == ["DELIVERY", "JOB", "TENANT", "ENDPOINT", "STATUS", "TRIES"]
        assert table[1].split()[1:5] == [failing, "default", "two", "PENDING"]
        assert "answered 503" in table[1] and table[1].endswith(f"{receiver}/bad")
        assert table[2].split()[1:6] == [taken, "default", "one", "DELIVERED", "1"]
        assert table[2].split()[-2:] == ["200", f"{receiver}/good"]
