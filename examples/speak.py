"""Speak a text through the job API with Python's standard library only; handles every end that a job can have.

VOXGATE_API_KEY=... python examples/speak.py "Hello from an app." hello.mp3
VOXGATE_API_KEY=... python examples/speak.py --job ID hello.mp3      # wait for a job that was submitted before
"""

from __future__ import annotations

import base64
import json
import os
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

BASE = os.environ.get("VOXGATE_URL", "http://127.0.0.1:8000") + "/v2/" + os.environ.get("ENDPOINT_ID", "example")
KEY = os.environ["VOXGATE_API_KEY"]
RUNNING = ("IN_QUEUE", "IN_PROGRESS")
TRY_AGAIN = (429, 503)
TRIES = 5


class NotSpoken(Exception):
    """The job ended without speech, or the server refused the request; the message says why."""


def call(path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Send one request; POST if there is a body. While the server is busy, wait as long as it asks and try again."""
    for tries_left in reversed(range(TRIES)):
        request = urllib.request.Request(
            BASE + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError as error:
            if error.code not in TRY_AGAIN or not tries_left:
                raise NotSpoken(f"{error.code}: {json.load(error)['error']}") from None
            time.sleep(float(error.headers.get("Retry-After", 1)))
    raise AssertionError("the last try returned or raised")


def submit(text: str, audio_format: str) -> str:
    """Queue a text of any length; returns the job's id."""
    return str(call("/run", {"input": {"text": text, "format": audio_format}})["id"])


def audio_of(job_id: str) -> bytes:
    """Wait until the job is done and return the encoded audio.

    Raises:
        NotSpoken: the job FAILED, was CANCELLED, TIMED_OUT, or is unknown (404).
    """
    while True:
        job = call(f"/status-sync/{job_id}?wait=20000")  # held until the end, or for 20 seconds
        if job["status"] == "COMPLETED":
            break
        if job["status"] not in RUNNING:
            raise NotSpoken(f"{job['status']}: {job.get('error', 'no reason given')}")
        print(f"{job['status']} {job.get('reason') or job.get('progress') or ''}", file=sys.stderr)
    output = job["output"]
    if "audio_base64" in output:
        return base64.b64decode(output["audio_base64"])
    with urllib.request.urlopen(output["audio_url"], timeout=60) as answer:  # too long to be inline
        return bytes(answer.read())


if __name__ == "__main__":
    target = Path(sys.argv[-1])
    try:
        job = sys.argv[2] if sys.argv[1] == "--job" else submit(sys.argv[1], target.suffix[1:])
        target.write_bytes(audio_of(job))
    except NotSpoken as error:
        raise SystemExit(str(error)) from None
    print(f"{target}: {target.stat().st_size:,} bytes")
