"""The guide's calls, as an app that was written after it makes them, reach a server that speaks."""

from __future__ import annotations

import io
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import soundfile
from support.clients import CLIENTS, ROOT, tools_first
from support.command import VOXGATE, Served, serving_command

GUIDE = ROOT / "examples" / "guide"
ENDPOINT = "70sq2akye030kh"
PYTHON = str(CLIENTS / "bin" / "python")
NODE = str(CLIENTS / "bin" / "node")
GUARD_S = 60
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server as it is out of the box, with its own voice, under the environment the guide sets."""
    folder = tmp_path_factory.mktemp("guide")
    guides = {"DEVICE": "cpu", "CACHE_DIR": str(folder / "tts_cache"), "MODEL_CACHE_DIR": str(folder / "models"),
              "MAX_CHARS_PER_CHUNK": "200"}  # fmt: skip
    with serving_command(VOXGATE, folder, guides) as served:
        yield served


def run(speaker: Served, folder: Path, *program: str, **more: str) -> subprocess.CompletedProcess[str]:
    """One program, as its reader runs it."""
    environment = {
        "RUNPOD_API_KEY": speaker.key,
        "EXPO_PUBLIC_RUNPOD_API_KEY": speaker.key,
        "BASE_URL": f"{speaker.url}/v2/{ENDPOINT}",
        **more,
    }
    done = subprocess.run(
        program, cwd=folder, env=tools_first(environment), capture_output=True, text=True, check=False, timeout=GUARD_S
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


def seconds(audio: bytes) -> float:
    samples, rate = soundfile.read(io.BytesIO(audio))
    assert abs(samples).max() > 0.05, "it is silent"
    return len(samples) / rate


@pytest.mark.parametrize(
    "program", [(PYTHON, "speech.py"), (NODE, "speech.js"), ("bash", "speech.sh")], ids=lambda program: program[1]
)
def test_the_quick_start_writes_speech(
    clients: None, speaker: Served, tmp_path: Path, program: tuple[str, str]
) -> None:
    run(speaker, tmp_path, program[0], str(GUIDE / program[1]))
    assert 1 < seconds((tmp_path / "output.mp3").read_bytes()) < 8


def test_the_batch_writes_a_file_for_each_text(clients: None, speaker: Served, tmp_path: Path) -> None:
    run(speaker, tmp_path, PYTHON, str(GUIDE / "batch.py"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"segment_{n}.mp3" for n in range(3)]
    assert all(seconds(path.read_bytes()) > 0.5 for path in tmp_path.iterdir())


class Storage(ThreadingHTTPServer):
    """A stand-in for the storage service: what was put, by path, with its headers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Put)
        self.kept: dict[str, tuple[dict[str, str], bytes]] = {}


class _Put(BaseHTTPRequestHandler):
    server: Storage

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.kept[self.path] = ({name.lower(): value for name, value in self.headers.items()}, body)
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *words: object) -> None:
        """Say nothing."""


def test_the_podcast_is_uploaded_segment_by_segment(clients: None, speaker: Served, tmp_path: Path) -> None:
    storage = Storage()
    threading.Thread(target=storage.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{storage.server_address[1]}"
    try:
        printed = run(speaker, tmp_path, PYTHON, str(GUIDE / "podcast.py"), SUPABASE_URL=url, SUPABASE_KEY="k").stdout
    finally:
        storage.shutdown()
        storage.server_close()
    paths = [f"audio/podcasts/{name}.mp3" for name in ("intro", "main", "outro")]
    assert [line for line in printed.splitlines() if "://" in line] == [
        f"{url}/storage/v1/object/public/{path}" for path in paths
    ]
    assert list(storage.kept) == [f"/storage/v1/object/{path}" for path in paths]
    for headers, audio in storage.kept.values():
        assert (headers["content-type"], headers["authorization"]) == ("audio/mpeg", "Bearer k")
        assert seconds(audio) > 0.5


def test_the_retry_decorator_speaks_at_once_and_after_failures(clients: None, speaker: Served, tmp_path: Path) -> None:
    printed = run(speaker, tmp_path, PYTHON, str(GUIDE / "retry.py")).stdout
    assert int(printed.split()[-2]) > 1000 and "failed" not in printed
    flaky = (
        "import retry, speech\n"
        "keys = ['wrong', 'wrong', speech.HEADERS['Authorization']]\n"
        "@retry.retry_on_failure(max_retries=3, delay=0.1)\n"
        "def say(text):\n"
        "    speech.HEADERS['Authorization'] = keys.pop(0)\n"
        "    return retry.generate_speech(text)\n"
        "print(len(say('Third time lucky.')))\n"
    )
    printed = run(speaker, tmp_path, PYTHON, "-c", flaky, PYTHONPATH=str(GUIDE)).stdout
    assert printed.count("failed") == 2 and int(printed.split()[-1]) > 1000


def test_the_metrics_are_numbers(clients: None, speaker: Served, tmp_path: Path) -> None:
    printed = run(speaker, tmp_path, PYTHON, str(GUIDE / "metrics.py")).stdout
    workers, queue = (line.rpartition(" ")[2] for line in printed.splitlines())
    assert workers.isdigit() and queue == "0"


EXPO = """
exports.documentDirectory = 'file:///docs/';
exports.EncodingType = { Base64: 'base64' };
exports.writeAsStringAsync = async (uri, contents, options) =>
  require('fs').writeFileSync(uri.split('/').pop(), Buffer.from(contents, options.encoding));
exports.Audio = { Sound: class {
  async loadAsync(source) { this.uri = source.uri; }
  async playAsync() { console.log('played ' + this.uri); }
} };
"""
PLAY = """
const { speakText } = require('./app');
const { playTTS } = require('./speech');
playTTS('Hello from an app.').then(() =>
  speakText('And again.', async (audio) => console.log('played ' + audio.length)));
"""


def test_the_typescript_is_checked_built_and_plays(clients: None, speaker: Served, tmp_path: Path) -> None:
    tsc = str(GUIDE / "node_modules" / "typescript" / "bin" / "tsc")
    run(speaker, tmp_path, NODE, tsc, "--project", str(GUIDE), "--outDir", str(tmp_path))
    for module in ("expo-av", "expo-file-system"):
        (tmp_path / "node_modules" / module).mkdir(parents=True)
        (tmp_path / "node_modules" / module / "index.js").write_text(EXPO)
    printed = run(speaker, tmp_path, NODE, "-e", PLAY, NODE_PATH=str(GUIDE / "node_modules")).stdout.splitlines()
    assert printed[0] == "played file:///docs/temp_tts.mp3" and int(printed[1].split()[1]) > 1000
    assert seconds((tmp_path / "temp_tts.mp3").read_bytes()) > 0.5


def test_a_type_error_would_be_found(clients: None, tmp_path: Path) -> None:
    wrong = "import { generateSpeech } from './speech';\ngenerateSpeech({ text: 'a', format: 'ogg' });\n"
    for path in GUIDE.glob("*.ts"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "app.ts").write_text(wrong)
    (tmp_path / "tsconfig.json").write_text((GUIDE / "tsconfig.json").read_text())
    (tmp_path / "node_modules").symlink_to(GUIDE / "node_modules")
    tsc = str(GUIDE / "node_modules" / "typescript" / "bin" / "tsc")
    done = subprocess.run(
        [NODE, tsc, "--noEmit"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=GUARD_S
    )
    assert done.returncode != 0 and "'\"ogg\"' is not assignable" in done.stdout
