"""An HTTP client of the job API, used by the commands."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import httpx

from gateway.errors import SynthesisFailed, Unauthorized, Unavailable
from gateway.speech.decode import decode_request

WAIT_MS = 90_000
_POLL_S = 0.25
_BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
_BUSY_TRIES = 8
_BUSY_PAUSE_S = 30.0
_TIMEOUT = httpx.Timeout(30.0, read=120.0)


def check(request: Mapping[str, Any]) -> None:
    """Check a request with the server's own decoder before it is sent. httpx cannot send NaN as JSON.

    Raises:
        InvalidInput: the request is wrong; says what is allowed.
    """
    # The format is left out: only the server knows what it can encode.
    decode_request(json.dumps({**request, "format": None}).encode())


def speak(
    url: str,
    key: str,
    endpoint: str,
    request: Mapping[str, Any],
    progress: Callable[[Mapping[str, Any]], None],
    wait_ms: int = WAIT_MS,
) -> tuple[Mapping[str, Any], bytes]:
    """Send one request to `/runsync`, wait until the job ends, and fetch the audio.

    Args:
        url: the server, without a path.
        progress: called with the job after each poll that finds it unfinished; an exception from it ends the wait.
        wait_ms: how long the server may hold the first request, 1,000 to 300,000.

    Returns:
        The finished job and its encoded audio.

    Raises:
        SynthesisFailed: the job ended without speech; the message is the job's error.
        Unauthorized: the server does not know the key.
        Unavailable: the server cannot be reached or refused the request.
    """
    base = f"{url.rstrip('/')}/v2/{quote(endpoint, safe='')}"
    with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=_TIMEOUT, trust_env=False) as client:
        job = _request_job(client, "POST", f"{base}/runsync?wait={wait_ms}", json={"input": request})
        while job["status"] in ("IN_QUEUE", "IN_PROGRESS"):
            progress(job)
            time.sleep(_POLL_S)
            job = _request_job(client, "GET", f"{base}/status/{job['id']}")
        if job["status"] != "COMPLETED":
            raise SynthesisFailed(str(job.get("error") or f"the job ended {job['status']}"))
        return job, _audio(client, url, job["output"])


def _request_job(client: httpx.Client, method: str, url: str, **body: Any) -> dict[str, Any]:
    answer = _send(client, method, url, **body)
    for _ in range(_BUSY_TRIES):
        if answer.status_code not in _BUSY or "retry-after" not in answer.headers:
            break
        time.sleep(min(float(answer.headers["retry-after"]), _BUSY_PAUSE_S))
        answer = _send(client, method, url, **body)
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise Unauthorized(f"{client_url(url)} does not know this key; set VOXGATE_API_KEY to one it knows")
    try:
        document = answer.json()
    except ValueError as error:
        raise Unavailable(f"{client_url(url)} answered {answer.status_code} without JSON; is it voxgate?") from error
    if answer.status_code != httpx.codes.OK:
        raise Unavailable(f"{client_url(url)} answered {answer.status_code}: {_error_text(answer)}")
    if not isinstance(document, dict) or not {"id", "status"} <= document.keys():
        raise Unavailable(f"{client_url(url)} answered something that is not a job; is it voxgate?")
    return document


def _send(client: httpx.Client, method: str, url: str, **body: Any) -> httpx.Response:
    try:
        return client.request(method, url, **body)
    except httpx.HTTPError as error:
        raise Unavailable(f"{client_url(url)} cannot be reached ({error}); is `voxgate serve` running?") from error


def _audio(client: httpx.Client, url: str, output: Mapping[str, Any]) -> bytes:
    if encoded := output.get("audio_base64"):
        return base64.b64decode(encoded)
    place = str(httpx.URL(url).join(output["audio_url"]))
    answer = _send(client, "GET", place)
    if answer.status_code != httpx.codes.OK:
        raise Unavailable(
            f"the text was spoken, but {client_url(place)} answered {answer.status_code} to the request for its audio: "
            f"{_error_text(answer)}"
        )
    return answer.content


def _error_text(answer: httpx.Response) -> str:
    """Return the error text of an answer, or the reason phrase of its status."""
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase


def client_url(url: str) -> str:
    """Return an address without its path, for messages."""
    parsed = httpx.URL(url)
    return f"{parsed.scheme}://{parsed.netloc.decode()}"
