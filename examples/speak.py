"""Speak a text through the job API with nothing but Python's standard library.

The calls are those of an app written for RunPod: submit a job, ask for it until it is done, decode the audio.

    VOXGATE_API_KEY=... python examples/speak.py "Hello from an app." hello.mp3
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

BASE = os.environ.get("VOXGATE_URL", "http://127.0.0.1:8000") + "/v2/" + os.environ.get("ENDPOINT_ID", "example")
KEY = os.environ["VOXGATE_API_KEY"]


def call(path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One request; POST when there is a body."""
    request = urllib.request.Request(
        BASE + path,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(json.load(answer))


def speak(text: str, audio_format: str) -> bytes:
    """The encoded audio of a text of any length."""
    job = call("/run", {"input": {"text": text, "format": audio_format}})
    while job["status"] in ("IN_QUEUE", "IN_PROGRESS"):
        time.sleep(0.2)
        job = call(f"/status/{job['id']}")
    if job["status"] != "COMPLETED":
        raise SystemExit(f"{job['status']}: {job.get('error')}")
    return base64.b64decode(job["output"]["audio_base64"])


if __name__ == "__main__":
    words, target = sys.argv[1], Path(sys.argv[2])
    target.write_bytes(speak(words, target.suffix[1:]))
    print(f"{target}: {target.stat().st_size:,} bytes")
