"""`make speak`: starts a gateway with default settings, speaks through the job API, writes hello.mp3, stops.

Only hello.mp3 is kept: the data folder is temporary, and the settings of this machine are ignored.
"""

from __future__ import annotations

import base64
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from gateway.cli.embedded import embedded_server
from gateway.errors import VoxgateError

TEXT = "Hello! This is voxgate, speaking from your own machine."
TARGET = Path("hello.mp3")
GIVE_UP_S = 120.0


def main() -> int:
    """Speak a text twice: once by the engine, once from the cache."""
    for name in [name for name in os.environ if name.startswith("VOXGATE_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="voxgate-speak-") as folder:
        config = Path(folder) / "voxgate.toml"
        config.touch()
        began = time.monotonic()
        changes = {"VOXGATE_CONFIG": str(config), "VOXGATE_DATA_DIR": str(Path(folder) / "data")}
        with embedded_server(changes) as server:
            print(f"a gateway listens on {server.url} (started in {time.monotonic() - began:.1f} s)\n")
            client = httpx.Client(
                base_url=server.url, headers={"Authorization": f"Bearer {server.key}"}, timeout=30.0, trust_env=False
            )
            with client:
                TARGET.write_bytes(show(client, "POST /run, then GET /status until it is done"))
                print(f"  file      {TARGET} ({TARGET.stat().st_size:,} bytes)\n")
                show(client, "the same request again")
    print(NEXT)
    return 0


def show(client: httpx.Client, title: str) -> bytes:
    """Run one job, print its result, return the audio."""
    began = time.monotonic()
    job = run(client)
    wall_s = time.monotonic() - began
    output = job["output"]
    duration_s = output["duration_ms"] / 1000
    print(title)
    print(f"  job       {job['id']}  {job['status']}")
    print(f"  backend   {output['backend']}, voice {output['voice']}")
    print(f"  duration  {duration_s:.2f} s of speech")
    if output["cache_hit"]:
        print(f"  cache     hit: answered in {wall_s * 1000:.0f} ms, nothing was spoken")
    else:
        spoken_s = output["generation_time_ms"] / 1000
        factor = spoken_s / duration_s
        print(f"  spoken    in {spoken_s:.2f} s, real-time factor {factor:.2f} (below 1: faster than speech)")
        print(f"  answered  after {wall_s:.2f} s, loading the voice included")
    return base64.b64decode(output["audio_base64"])


def run(client: httpx.Client) -> dict[str, Any]:
    """Submit and poll a job as an app written for RunPod's Chatterbox endpoint does."""
    answer = client.post("/run", json={"input": {"text": TEXT, "format": "mp3"}}).raise_for_status().json()
    give_up = time.monotonic() + GIVE_UP_S
    while answer["status"] in ("IN_QUEUE", "IN_PROGRESS") or "output" not in answer:
        if answer["status"] in ("FAILED", "TIMED_OUT", "CANCELLED") or time.monotonic() > give_up:
            raise SystemExit(f"voxgate: the job ended {answer['status']}: {answer.get('error', 'no answer in time')}")
        answer = client.get(f"/status/{answer['id']}").raise_for_status().json()
        time.sleep(0.01)
    return dict(answer)


NEXT = """
Keep a server:   make serve            (shows an API key once, the first time)
and call it:     curl -s http://127.0.0.1:8000/runsync -H "Authorization: Bearer $VOXGATE_API_KEY" \\
                      -H "Content-Type: application/json" -d '{"input": {"text": "Hello."}}'
or:              .venv/bin/voxgate say "Hello." -o hello.mp3
or open:         http://127.0.0.1:8000/"""


if __name__ == "__main__":
    try:
        sys.exit(main())
    except VoxgateError as error:
        sys.exit(f"voxgate: {error}")
