"""`voxgate serve` as a process, and the commands beside it."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import numpy as np
import pytest
import soundfile
from support.command import KEY, VOXGATE, Served, command, serving_command
from support.damage import damage

pytestmark = pytest.mark.slow

SCRIPTED = {"VOXGATE_PLUGINS": "scripted"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[Served]:
    with serving_command(VOXGATE, folder, SCRIPTED) as served:
        yield served


def _post(server: Served, verb: str, **request: object) -> dict[str, object]:
    answer = httpx.post(
        f"{server.url}/{verb}",
        headers={"Authorization": f"Bearer {server.key}"},
        json={"input": request},
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_the_first_line_is_the_address_and_it_answers(server: Served) -> None:
    assert httpx.get(f"{server.url}/health/live", trust_env=False).status_code == 200
    assert _post(server, "runsync", text="Hello.")["status"] == "COMPLETED"


def test_doctor_says_which_audio_is_missing(server: Served, folder: Path) -> None:
    _post(server, "runsync", text="Hello.")
    server.stop()
    assert _about_audio(folder)["level"] == "ok"
    gone = next((server.data_dir / "audio").rglob("*.mp3"))
    gone.unlink()
    finding = _about_audio(folder)
    assert finding["level"] == "warning"
    assert finding["words"].startswith("1 files that the database refers to") and gone.stem in finding["words"]


def test_doctor_reads_all_audio_if_asked_and_says_what_is_damaged_moved_aside_or_in_no_use(
    server: Served, folder: Path
) -> None:
    _post(server, "runsync", text="Hello.", format="wav")
    server.stop()
    assert _about_audio(folder, "--read-audio")["words"].endswith("and undamaged")
    (bad,) = (server.data_dir / "audio").rglob("*.wav")
    damage(bad, "flipped")
    assert _about_audio(folder)["level"] == "ok", "not without reading"
    finding = _about_audio(folder, "--read-audio")
    assert finding["level"] == "warning"
    assert finding["words"].startswith("1 files in") and bad.stem in finding["words"]
    assert bad.exists(), "it only looks"
    aside = server.data_dir / "audio" / "damaged"
    aside.mkdir()
    shutil.copy(bad, aside)
    assert any("1 damaged files were moved" in words for words in _all_about_audio(folder))
    with sqlite3.connect(server.data_dir / "voxgate.db") as connection:
        connection.execute("DELETE FROM takes")
        connection.execute("UPDATE blobs SET loose_ms = NULL")
    assert any(
        "1 files (" in words and "are not used and not yet listed" in words for words in _all_about_audio(folder)
    )


def _about_audio(folder: Path, *options: str) -> dict[str, str]:
    findings = json.loads(command(["doctor", "--json", *options], folder, {**SCRIPTED, "VOXGATE_PORT": "0"}).stdout)
    return next(finding for finding in findings if finding["about"] == "audio")


def _all_about_audio(folder: Path) -> list[str]:
    findings = json.loads(command(["doctor", "--json"], folder, {**SCRIPTED, "VOXGATE_PORT": "0"}).stdout)
    return [finding["words"] for finding in findings if finding["about"] == "audio"]


def test_sigterm_ends_it_with_0_and_takes_its_record_back(server: Served) -> None:
    record = server.data_dir / "server.json"
    assert json.loads(record.read_text())["url"] == server.url
    assert server.stop() == 0
    assert not record.exists()
    assert not [line for line in server.log if "Traceback" in line]


def test_a_stop_does_not_wait_for_callers_who_wait_for_a_job(folder: Path) -> None:
    with serving_command(VOXGATE, folder, {**SCRIPTED, "VOXGATE_SHUTDOWN_GRACE_S": "1"}) as server:
        answers: list[dict[str, object]] = []
        caller = threading.Thread(
            target=lambda: answers.append(_post(server, "runsync", text="Slow.", options={"delay_s": 120}))
        )
        caller.start()
        deadline = time.monotonic() + 30
        while _jobs(server) != [("IN_PROGRESS",)] and time.monotonic() < deadline:
            time.sleep(0.05)
        assert server.stop() == 0
        caller.join(30)
        assert answers
        assert answers[0]["status"] in ("IN_QUEUE", "IN_PROGRESS")
    assert _jobs(server) == [("IN_QUEUE",)]


def _jobs(server: Served) -> list[tuple[str]]:
    with sqlite3.connect(server.data_dir / "voxgate.db") as connection:
        return connection.execute("SELECT state FROM jobs").fetchall()


def test_ctrl_c_is_a_stop_as_well(server: Served) -> None:
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(60) == 0


def test_a_taken_port_stops_the_start_in_one_line(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = command(["serve", "--port", str(port)], folder, SCRIPTED)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert f"--port = {port}: already in use" in done.stderr


class _Hook(BaseHTTPRequestHandler):
    """Keeps what it was sent."""

    bodies: ClassVar[list[dict[str, Any]]] = []

    def do_POST(self) -> None:
        self.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_server_names_the_address_it_really_has(folder: Path, host: str) -> None:
    receiver = ThreadingHTTPServer(("127.0.0.1", 0), _Hook)
    _Hook.bodies.clear()
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    try:
        changes = {**SCRIPTED, "VOXGATE_HOST": host, "VOXGATE_WEBHOOK_ALLOW": "127.0.0.1"}
        with serving_command(VOXGATE, folder, changes) as server:
            answer = httpx.post(
                f"{server.url}/runsync",
                headers={"Authorization": f"Bearer {server.key}"},
                json={"input": {"text": "Tell me."}, "webhook": f"http://127.0.0.1:{receiver.server_port}/"},
                timeout=60,
            )
            assert answer.json()["status"] == "COMPLETED"
            deadline = time.monotonic() + 60
            while not _Hook.bodies and time.monotonic() < deadline:
                time.sleep(0.05)
            url = _Hook.bodies[0]["output"]["audio_url"]
            assert url.startswith(f"{server.url}/")
            assert httpx.get(url, timeout=60).status_code == 200
            shown = command(["endpoints", "show", "default"], folder, {"VOXGATE_HOST": host}).stdout
            assert f"address   {server.url}/v2/default/run\n" in shown
    finally:
        receiver.shutdown()
        receiver.server_close()


def test_a_database_of_a_newer_schema_is_refused_in_one_line(folder: Path) -> None:
    command(["db", "upgrade"], folder)
    with sqlite3.connect(folder / "data" / "voxgate.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    done = command(["serve", "--port", "0"], folder, SCRIPTED)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "newer voxgate" in done.stderr


def test_say_uses_the_running_server(server: Served, folder: Path) -> None:
    done = command(["say", "Through the server.", "-o", "out.wav", "--json"], folder, {"VOXGATE_API_KEY": KEY})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"]["backend"] == "scripted"
    pcm, rate = soundfile.read(folder / "out.wav")
    assert len(pcm) * 1000 // rate == json.loads(done.stdout)["output"]["duration_ms"]
    assert _jobs(server) == [("COMPLETED",)]


def test_say_with_a_key_the_server_does_not_know_says_so(server: Served, folder: Path) -> None:
    done = command(["say", "Hello.", "--url", server.url], folder, {"VOXGATE_API_KEY": "another"})
    assert done.returncode == 2
    assert "does not know this key; set VOXGATE_API_KEY" in done.stderr


def test_say_works_without_a_server_and_leaves_none(folder: Path) -> None:
    done = command(["say", "-o", "piped.flac"], folder, stdin="A text from a pipe.")
    assert done.returncode == 0, done.stderr
    pcm, rate = soundfile.read(folder / "piped.flac")
    assert rate == 24_000
    assert 0.3 < len(pcm) / rate < 10
    assert np.abs(pcm).max() > 0.05
    assert not (folder / "data" / "server.json").exists()


@pytest.mark.parametrize(("speed", "shown"), [("3", "3.0"), ("nan", "NaN"), ("inf", "Infinity")])
@pytest.mark.parametrize("verb", ["say", "batch"])
def test_what_is_wrong_with_a_request_is_told_in_one_line(folder: Path, verb: str, speed: str, shown: str) -> None:
    (folder / "script.txt").write_text("Hello.\n")
    what = ["Hello."] if verb == "say" else ["script.txt", "-o", "spoken"]
    done = command([verb, *what, "--speed", speed], folder, SCRIPTED)
    assert done.returncode == 2
    assert done.stderr.strip() == f"voxgate: speed must be between 0.5 and 2.0, got {shown}"


def test_say_tells_why_its_own_server_did_not_start(folder: Path) -> None:
    done = command(["say", "Hello."], folder, {"VOXGATE_BACKENDS__HIBARI__WORKRES": "2"})
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "did you mean VOXGATE_BACKENDS__HIBARI__WORKERS?" in done.stderr


def test_usage_and_cache_tell_what_a_server_spoke(server: Served, folder: Path) -> None:
    for _ in range(2):
        _post(server, "runsync", text="Counted.")
    assert server.stop() == 0
    (row,) = json.loads(command(["usage", "--by", "backend", "--json"], folder).stdout)
    assert (row["backend"], row["jobs"], row["cache_hits"]) == ("scripted", 2, 1)
    assert json.loads(command(["cache", "show", "--json"], folder).stdout)["entries"] == 1
    assert json.loads(command(["cache", "prune", "--to-bytes", "1GB", "--json"], folder).stdout) == {"removed": 0}
    assert json.loads(command(["cache", "prune", "--to-bytes", "1", "--json"], folder).stdout) == {"removed": 1}
    assert "empty" in command(["cache", "show"], folder).stdout
