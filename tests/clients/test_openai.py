"""OpenAI's official clients, Python (sync and async) and JavaScript, against a real server."""

from __future__ import annotations

import base64
import io

import httpx
import pytest
import soundfile
from support.clients import ClientError, Driver
from support.judged import until

pytestmark = pytest.mark.slow

TEXT = "\n\n".join(f"Paragraph {n} is what a client of OpenAI's asked for." for n in range(5))
SLOW = {"options": {"chunk_delay_s": 1.0}}
"""Five seconds for all of it: a client that starts on a busy machine asks for the state of the job within them."""
WAYS = ["python", "python async", "javascript"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> tuple[Driver, str]:
    """A client, and what its scenarios' names begin with."""
    name = "openai_js" if request.param == "javascript" else "openai_python"
    return request.getfixturevalue(name), "aio_" if "async" in request.param else ""


@pytest.fixture(params=["python", "javascript"])
def client(request: pytest.FixtureRequest) -> Driver:
    return request.getfixturevalue("openai_js" if request.param == "javascript" else "openai_python")


def wish(driver: Driver, text: str, **fields: object) -> dict[str, object]:
    """A request; the Python client wants fields it does not know of in `extra_body`."""
    ours = {"options": fields.pop("options")} if "options" in fields else {}
    if ours and "python" in driver.program:
        ours = {"extra_body": ours}
    return {"model": "tts-1", "voice": "alloy", "input": text, **fields, **ours}


def test_speech_is_spoken(way: tuple[Driver, str], http: httpx.Client) -> None:
    driver, prefix = way
    text = f"{TEXT} {prefix}"
    audio = base64.b64decode(driver(f"{prefix}speech", request=wish(driver, text, response_format="wav")))
    samples, rate = soundfile.read(io.BytesIO(audio))
    assert rate == 24_000 and len(samples) > 24_000
    job = http.post("/default/runsync", json={"input": {"text": text, "format": "wav"}}).json()
    assert base64.b64decode(job["output"]["audio_base64"])[44:] == audio[44:]


def test_audio_comes_while_it_is_being_spoken(way: tuple[Driver, str]) -> None:
    driver, prefix = way
    text = f"{TEXT} Streamed {prefix} {driver.program}"
    heard = driver(f"{prefix}speech_streamed", request=wish(driver, text, response_format="mp3", **SLOW))
    assert (heard["state"], heard["type"]) == ("IN_PROGRESS", "audio/mpeg")
    samples, _ = soundfile.read(io.BytesIO(base64.b64decode(heard["audio"])))
    assert len(samples) > 24_000


def test_the_models_are_listed(way: tuple[Driver, str]) -> None:
    driver, prefix = way
    assert {"default", "scripted", "tts-1"} <= set(driver(f"{prefix}models"))


def test_a_model_is_found(client: Driver) -> None:
    assert client("model", name="tts-1")["id"] == "tts-1"
    with pytest.raises(ClientError, match="404"):
        client("model", name="whisper-1")


def test_a_file_is_written_while_it_is_spoken(openai_python: Driver) -> None:
    request = wish(openai_python, f"{TEXT} To a file.", response_format="flac")
    assert base64.b64decode(openai_python("speech_to_file", request=request)).startswith(b"fLaC")


def test_events_end_with_what_was_used(client: Driver) -> None:
    events = client("speech_events", request=wish(client, f"{TEXT} Events {client.program}", response_format="pcm"))
    assert [event["type"] for event in events[:-1]] == ["speech.audio.delta"] * (len(events) - 1)
    audio = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert events[-1]["type"] == "speech.audio.done"
    assert events[-1]["usage"]["audio_ms"] == round(len(audio) / 48)


def test_a_client_that_leaves_takes_its_job_along(client: Driver, http: httpx.Client) -> None:
    job_id = client("speech_left", request=wish(client, f"{TEXT} Left {client.program}", **SLOW))
    until(http, "default", job_id, "CANCELLED")


def test_what_is_asked_of_openai_alone_is_told(openai_python: Driver) -> None:
    told = openai_python("headers", request=wish(openai_python, "Whose voice?"))
    assert "scripted has no voice 'alloy'" in told["x-voxgate-warning"]


@pytest.mark.parametrize(
    ("fields", "name", "status", "param", "code"),
    [
        ({"voice": "nobody"}, "BadRequestError", 400, "voice", "invalid_value"),
        ({"speed": 0.25}, "BadRequestError", 400, "speed", "invalid_value"),
        ({"model": "tts-9"}, "NotFoundError", 404, "model", "model_not_found"),
        ({"options": {"fail": True}}, "InternalServerError", 502, None, "synthesis_failed"),
        ({"key": "wrong"}, "AuthenticationError", 401, None, "invalid_api_key"),
    ],
)
def test_every_error_is_the_clients_own_class(
    client: Driver, fields: dict[str, object], name: str, status: int, param: str | None, code: str
) -> None:
    given = dict(fields)
    key = given.pop("key", None)
    error = client("error_of", request={**wish(client, "An error.", **given)}, key=key)
    assert (error["class"], error["status"], error["param"], error["code"]) == (name, status, param, code)
    assert error["words"]


def test_speech_that_fails_on_the_way_is_an_error_not_a_short_file(client: Driver) -> None:
    failing = {"options": {"fail": "cursed", "only": "curse", "chunk_delay_s": 0.2}}
    text = f"{TEXT * 4}\n\nA curse. {client.program}"
    with pytest.raises(ClientError):
        client("speech", request=wish(client, text, response_format="pcm", **failing))
