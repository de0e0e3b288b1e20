"""The official Python client, sync and asyncio, through every call it has and every state a job can end in."""

from __future__ import annotations

import base64

import httpx
import pytest
from support.clients import ClientError, Driver
from support.judged import SLOW, TEXT, brought_to, queued, stop, submit, until

FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
BOTH = pytest.mark.parametrize("way", ["", "aio_"], ids=["sync", "asyncio"])
pytestmark = pytest.mark.slow


@BOTH
def test_run_gives_a_job_whose_output_is_the_speech(python_client: Driver, way: str) -> None:
    job = python_client(f"{way}run_and_wait", name="py", request={"text": f"{TEXT} {way}", "format": "wav"})
    assert job["status"] == "COMPLETED"
    assert base64.b64decode(job["output"]["audio_base64"]).startswith(b"RIFF")
    assert job["output"]["mimetype"] == "audio/wav"


@pytest.mark.parametrize("wrapped", [True, False])
def test_run_sync_returns_the_output_alone(python_client: Driver, wrapped: bool) -> None:
    request = {"text": f"{TEXT} {wrapped}"}
    output = python_client("run_sync", name="py", request={"input": request} if wrapped else request)
    assert len(base64.b64decode(output["audio_base64"])) > 500
    again = python_client("run_sync", name="py", request=request)
    assert (again["cache_hit"], again["audio_base64"]) == (True, output["audio_base64"])


def test_the_asyncio_clients_double_wrapping_is_undone(python_client: Driver) -> None:
    job = python_client("aio_run_and_wait", name="py", request={"input": {"text": TEXT}})
    assert job["status"] == "COMPLETED"


def test_run_sync_of_bad_input_gives_none_and_the_job_says_why(python_client: Driver, http: httpx.Client) -> None:
    assert python_client("run_sync", name="py", request={"text": TEXT, "speed": 9}) is None
    job_id = python_client("run", name="py", request={"text": TEXT, "speed": 9})
    assert python_client("status", name="py", job_id=job_id) == "FAILED"
    assert "between 0.5 and 2.0" in http.get(f"/py/status/{job_id}").json()["error"]


@BOTH
@pytest.mark.parametrize("state", FINAL)
def test_every_end_is_told_and_only_speech_has_output(
    python_client: Driver, http: httpx.Client, way: str, state: str
) -> None:
    job_id = brought_to(http, "py-ends", state)
    assert python_client(f"{way}status", name="py-ends", job_id=job_id) == state
    output = python_client(f"{way}output", name="py-ends", job_id=job_id, timeout=10)
    assert (output is not None) == (state == "COMPLETED")


@BOTH
def test_a_job_is_cancelled_while_it_runs_and_while_it_waits(
    python_client: Driver, http: httpx.Client, way: str
) -> None:
    name = f"py-cancel-{way}"
    running, waiting = queued(http, name, 1)
    try:
        assert python_client(f"{way}status", name=name, job_id=running[0]) == "IN_PROGRESS"
        assert python_client(f"{way}status", name=name, job_id=waiting[0]) == "IN_QUEUE"
        for job_id in (waiting[0], running[0]):
            answer = python_client(f"{way}cancel", name=name, job_id=job_id)
            assert (answer["id"], answer["status"]) == (job_id, "CANCELLED")
            assert python_client(f"{way}status", name=name, job_id=job_id) == "CANCELLED"
    finally:
        stop(http, name, running + waiting)


@BOTH
def test_output_gives_up_when_its_own_time_is_over(python_client: Driver, http: httpx.Client, way: str) -> None:
    job_id = submit(http, "py", input={"text": f"slow {way}", **SLOW})
    with pytest.raises(ClientError) as raised:
        python_client(f"{way}output", name="py", job_id=job_id, timeout=1)
    assert raised.value.kind == "TimeoutError"
    stop(http, "py", [job_id])


@BOTH
def test_health_counts_and_purge_queue_removes_what_waits(python_client: Driver, http: httpx.Client, way: str) -> None:
    name = f"py-purge-{way}"
    running, waiting = queued(http, name, 3)
    try:
        health = python_client(f"{way}health", name=name)
        assert (health["jobs"]["inProgress"], health["jobs"]["inQueue"]) == (2, 3)
        assert {"idle", "initializing", "ready", "running", "throttled"} <= set(health["workers"])
        assert python_client(f"{way}purge_queue", name=name) == {"removed": 3, "status": "completed"}
        assert {until(http, name, job_id, "CANCELLED")["status"] for job_id in waiting} == {"CANCELLED"}
    finally:
        stop(http, name, running)


@BOTH
@pytest.mark.parametrize("when", ["while it is spoken", "afterwards"])
def test_stream_gives_every_chunk_once(python_client: Driver, http: httpx.Client, way: str, when: str) -> None:
    text = "\n\n".join(f"Paragraph {n}, {way}stream {when}, long enough to be one." for n in range(4))
    request = {"text": text, "format": "wav", "options": {"chunk_delay_s": 0.4}}
    job_id = python_client(f"{way}run", name="py-stream", request=request)
    if when == "afterwards":
        until(http, "py-stream", job_id, "COMPLETED")
    items = python_client(f"{way}stream", name="py-stream", job_id=job_id)
    assert [item["text"] for item in items] == text.split("\n\n")
    assert all(base64.b64decode(item["audio_base64"]).startswith(b"RIFF") for item in items)


@BOTH
@pytest.mark.parametrize("state", ["FAILED", "TIMED_OUT"])
def test_the_stream_of_a_job_without_speech_ends(
    python_client: Driver, http: httpx.Client, way: str, state: str
) -> None:
    assert python_client(f"{way}stream", name="py-ends", job_id=brought_to(http, "py-ends", state)) == []


def test_a_wrong_key_and_a_wrong_job_raise_what_the_client_documents(python_client: Driver) -> None:
    with pytest.raises(ClientError) as raised:
        python_client("run", name="py", request={"text": TEXT}, key="wrong")
    assert raised.value.kind == "RuntimeError" and "401" in raised.value.words
    with pytest.raises(ClientError) as raised:
        python_client("status", name="py", job_id="nothing")
    assert raised.value.kind == "HTTPError" and "404" in raised.value.words
