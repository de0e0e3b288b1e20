"""The official JavaScript client through every call it has and every state a job can end in."""

from __future__ import annotations

import base64

import httpx
import pytest
from support.clients import ClientError, Driver
from support.judged import SLOW, TEXT, brought_to, queued, stop, submit, until

FINAL = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
pytestmark = pytest.mark.slow


def test_run_then_status_gives_the_speech(js_client: Driver, http: httpx.Client) -> None:
    job = js_client("run", name="js", request={"input": {"text": TEXT, "format": "wav"}})
    assert set(job) == {"id", "status"}
    until(http, "js", job["id"], "COMPLETED")
    done = js_client("status", name="js", id=job["id"])
    assert (done["started"], done["completed"], done["succeeded"]) == (True, True, True)
    assert base64.b64decode(done["output"]["audio_base64"]).startswith(b"RIFF")
    assert isinstance(done["delayTime"], int) and isinstance(done["executionTime"], int)


def test_run_sync_waits_in_turns_of_its_own_length_until_the_end(js_client: Driver) -> None:
    request = {"input": {"text": f"{TEXT} sync", "options": {"delay_s": 2.5}}, "timeout": 1}
    done = js_client("runSync", name="js", request=request, timeout=1000 * 20)
    assert (done["status"], done["succeeded"]) == ("COMPLETED", True)
    assert len(base64.b64decode(done["output"]["audio_base64"])) > 500


def test_run_sync_gives_the_unfinished_job_when_its_time_is_over(js_client: Driver, http: httpx.Client) -> None:
    left = js_client("runSync", name="js", request={"input": {"text": "slow", **SLOW}}, timeout=1000)
    assert left["completed"] is False and left["status"] in ("IN_QUEUE", "IN_PROGRESS")
    stop(http, "js", [left["id"]])


def test_bad_input_is_a_failed_job_with_words(js_client: Driver) -> None:
    failed = js_client("runSync", name="js", request={"input": {"text": TEXT, "speed": 9}})
    assert (failed["status"], failed["completed"], failed["succeeded"]) == ("FAILED", True, False)
    assert "between 0.5 and 2.0" in failed["error"]


@pytest.mark.parametrize("verb", ["status", "statusSync"])
@pytest.mark.parametrize("state", FINAL)
def test_every_end_is_told(js_client: Driver, http: httpx.Client, verb: str, state: str) -> None:
    job_id = brought_to(http, "js-ends", state)
    told = js_client(verb, name="js-ends", id=job_id)
    assert (told["id"], told["status"], told["completed"]) == (job_id, state, True)
    assert told["succeeded"] == ("output" in told) == (state == "COMPLETED")


@pytest.mark.parametrize("policy", [{"executionTimeout": 5000, "ttl": 60_000, "lowPriority": True}])
def test_a_policy_is_obeyed(js_client: Driver, policy: dict[str, object]) -> None:
    request = {"input": {"text": "slow with a limit", **SLOW}, "policy": policy, "webhookV2": "ignored"}
    ended = js_client("runSync", name="js", request=request, timeout=30_000)
    assert (ended["status"], ended["succeeded"]) == ("TIMED_OUT", False)
    assert "executionTimeout" in ended["error"]


def test_a_job_is_cancelled_while_it_runs_and_while_it_waits(js_client: Driver, http: httpx.Client) -> None:
    running, waiting = queued(http, "js-cancel", 1)
    try:
        for job_id in (waiting[0], running[0]):
            answer = js_client("cancel", name="js-cancel", id=job_id)
            assert (answer["id"], answer["status"]) == (job_id, "CANCELLED")
            assert js_client("status", name="js-cancel", id=job_id)["status"] == "CANCELLED"
    finally:
        stop(http, "js-cancel", running + waiting)


def test_health_counts_and_purge_queue_removes_what_waits(js_client: Driver, http: httpx.Client) -> None:
    running, waiting = queued(http, "js-purge", 3)
    try:
        health = js_client("health", name="js-purge")
        assert (health["jobs"]["inProgress"], health["jobs"]["inQueue"]) == (2, 3)
        assert js_client("purgeQueue", name="js-purge") == {"removed": 3, "status": "completed"}
        assert js_client("status", name="js-purge", id=waiting[0])["status"] == "CANCELLED"
    finally:
        stop(http, "js-purge", running)


@pytest.mark.parametrize("when", ["while it is spoken", "afterwards"])
def test_stream_gives_every_chunk_once(js_client: Driver, http: httpx.Client, when: str) -> None:
    text = "\n\n".join(f"Paragraph {n}, {when}, long enough to be one." for n in range(4))
    job_id = submit(http, "js-stream", input={"text": text, "format": "wav", "options": {"chunk_delay_s": 0.4}})
    if when == "afterwards":
        until(http, "js-stream", job_id, "COMPLETED")
    items = js_client("stream", name="js-stream", id=job_id)
    assert [item["output"]["text"] for item in items] == text.split("\n\n")


def test_a_stream_longer_than_one_answer_is_given_to_its_end(js_client: Driver, http: httpx.Client) -> None:
    # The client stops at the first answer with a final status, so only the last answer may have one.
    text = "\n\n".join(f"Paragraph {n}. " + "It goes on and on with words. " * 5 for n in range(80))
    job_id = submit(http, "js-stream", input={"text": text, "format": "wav"})
    seconds = until(http, "js-stream", job_id, "COMPLETED")["output"]["duration_ms"] / 1000
    items = js_client("stream", name="js-stream", id=job_id)
    assert items[-1]["output"]["end_ms"] == round(seconds * 1000)
    assert len({item["output"]["index"] for item in items}) == len(items)


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED", "TIMED_OUT"])
def test_the_stream_of_a_job_without_speech_ends(js_client: Driver, http: httpx.Client, state: str) -> None:
    assert js_client("stream", name="js-ends", id=brought_to(http, "js-ends", state)) == []


@pytest.mark.parametrize(
    ("scenario", "given", "status"),
    [
        ("run", {"name": "js", "request": {"input": {"text": TEXT}}, "key": "wrong"}, "401"),
        ("run", {"name": "js", "request": {"prompt": "no input"}}, "400"),
        ("status", {"name": "js", "id": "nothing"}, "404"),
        ("cancel", {"name": "js", "id": "nothing"}, "404"),
    ],
)
def test_a_refusal_is_an_error_with_its_status(js_client: Driver, scenario: str, given: dict, status: str) -> None:
    with pytest.raises(ClientError) as raised:
        js_client(scenario, **given)
    assert raised.value.words.startswith(status)
