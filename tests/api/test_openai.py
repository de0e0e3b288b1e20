"""OpenAI's speech API over plain HTTP; tests/clients drives the same with OpenAI's own clients."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
import soundfile
from support.running import Caller, pcm_of, running

from gateway.routing.models import OPENAI_MODELS
from gateway.settings.model import EndpointSettings, JobSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "\n\n".join(f"Paragraph number {n} says something of its own, and then it ends." for n in range(5))
SLOW = {"options": {"chunk_delay_s": 0.3}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def spoken(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A gateway with an endpoint somebody made."""
    folder = tmp_path_factory.mktemp("openai")
    async with running(
        folder,
        endpoints={"reader": EndpointSettings(voice="high")},
        max_body_runsync_bytes=100_000,
        plugins=("scripted", "hibari"),
        default_backend="scripted",
    ) as caller:
        yield caller


async def ask(caller: Caller, text: str = TEXT, **fields: Any) -> httpx.Response:
    body = {"model": "tts-1", "input": text, "voice": "default", **fields}
    return await caller.http.post("/v1/audio/speech", json={k: v for k, v in body.items() if v is not ...})


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "stream" not in error["message"] or answer.status_code < 500
    return error


async def state_of(caller: Caller, job_id: str) -> str:
    answer = await caller.http.get(f"/v2/default/status/{job_id}")
    return str(answer.json()["status"])


async def until_state(caller: Caller, job_id: str, *states: str) -> None:
    async with asyncio.timeout(30):
        while await state_of(caller, job_id) not in states:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("form", ["pcm", "wav"])
async def test_what_is_sent_while_it_is_spoken_is_the_finished_audio_sample_by_sample(spoken: Caller, form: str):
    text = f"{TEXT} As {form}."
    answer = await ask(spoken, text, response_format=form, speed=1.25, **SLOW)
    assert answer.status_code == 200
    assert "content-length" not in answer.headers and answer.headers["transfer-encoding"] == "chunked"
    finished = await spoken.say(text, format=form, speed=1.25, **SLOW)
    whole = base64.b64decode(finished["output"]["audio_base64"])
    assert answer.content[-1_000:] == whole[-1_000:]
    assert answer.content.removeprefix(answer.content[:44]) == whole[44:]
    if form == "wav":
        assert soundfile.info(io.BytesIO(answer.content)).samplerate == 24_000


@pytest.mark.parametrize(
    ("form", "mimetype"),
    [("mp3", "audio/mpeg"), ("opus", "audio/ogg"), ("flac", "audio/flac"), ("aac", "audio/aac")],
)
async def test_every_format_is_sent_while_it_is_spoken_and_whole_once_it_is(spoken: Caller, form: str, mimetype: str):
    if form == "aac":
        pytest.importorskip("av")
    text = f"{TEXT} As {form}."
    answer = await ask(spoken, text, response_format=form, **SLOW)
    assert (answer.status_code, answer.headers["content-type"]) == (200, mimetype)
    assert "content-length" not in answer.headers
    again = await ask(spoken, text, response_format=form, **SLOW)
    assert again.headers["content-type"] == mimetype
    assert int(again.headers["content-length"]) == len(again.content)
    finished = await spoken.http.post("/runsync", json={"input": {"text": text, "format": form, **SLOW}}, timeout=60)
    assert base64.b64decode(finished.json()["output"]["audio_base64"]) == again.content
    exact, rate = pcm_of(await spoken.say(text, format="wav", **SLOW))
    for data, streamed in ((answer.content, True), (again.content, False)):
        heard = samples_of(form, data)
        # Tones end as loudly as they begin: nothing of them is left to the codec's padding.
        lead, most = ADDED[form, streamed]
        assert 0 <= len(heard) - len(exact) <= most * rate
        heard = heard[lead:][: len(exact)].astype(float)
        assert np.corrcoef(heard, exact[: len(heard)])[0, 1] > 0.99
    if form == "flac":
        assert np.array_equal(samples_of(form, answer.content), exact)


ADDED = {
    ("mp3", True): (1_105, 0.072), ("mp3", False): (0, 0),
    ("aac", True): (1_024, 0.086), ("aac", False): (1_024, 0.086),
    ("opus", True): (0, 0), ("opus", False): (0, 0),
    ("flac", True): (0, 0), ("flac", False): (0, 0),
}  # fmt: skip
"""Samples in front, and seconds in all, that decoders add at 24 kHz; as documented."""


def samples_of(form: str, data: bytes) -> np.ndarray:
    if form in ("mp3", "opus"):
        return soundfile.read(io.BytesIO(data), dtype="int16")[0]
    av = pytest.importorskip("av")  # python-soundfile reads no AAC, and no FLAC that does not say how long it is
    with av.open(io.BytesIO(data)) as container:
        heard = np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)])
    return heard if heard.dtype == np.int16 else np.rint(heard * 32_767).astype(np.int16)


async def test_the_first_audio_comes_while_the_job_is_still_running(spoken: Caller):
    body = {"model": "tts-1", "input": f"{TEXT} First.", "voice": "alloy", "response_format": "pcm", **SLOW}
    async with spoken.http.stream("POST", "/v1/audio/speech", json=body) as answer:
        async for piece in answer.aiter_raw():
            assert piece
            assert await state_of(spoken, answer.headers["x-voxgate-job-id"]) == "IN_PROGRESS"
            break


async def test_a_caller_who_leaves_takes_the_job_along(spoken: Caller):
    body = {"model": "tts-1", "input": f"{TEXT} Left.", "voice": "alloy", **SLOW}
    async with spoken.http.stream("POST", "/v1/audio/speech", json=body) as answer:
        async for _ in answer.aiter_raw():
            break
    await until_state(spoken, answer.headers["x-voxgate-job-id"], "CANCELLED")


async def test_a_caller_who_leaves_before_the_first_audio_takes_the_job_along(spoken: Caller):
    text = f"{TEXT} Left early."
    body = {"model": "default", "input": text, "options": {"delay_s": 60}}
    leaving = asyncio.create_task(spoken.http.post("/v1/audio/speech", json=body))
    async with asyncio.timeout(60):
        while not (running := (await spoken.http.get("/requests?status=IN_PROGRESS")).json()["requests"]):
            await asyncio.sleep(0.05)
    leaving.cancel()  # it hangs up
    (job,) = running
    await until_state(spoken, job["id"], "CANCELLED")


async def test_a_job_that_others_wait_for_outlives_its_listener(spoken: Caller):
    text = f"{TEXT} Shared."
    body = {"model": "tts-1", "input": text, "voice": "alloy", "response_format": "mp3", **SLOW}
    async with spoken.http.stream("POST", "/v1/audio/speech", json=body) as answer:
        pieces = answer.aiter_raw()
        await anext(pieces)
        other = await spoken.http.post("/run", json={"input": {"text": text, "format": "mp3", **SLOW}})
    await until_state(spoken, other.json()["id"], "COMPLETED")
    assert await state_of(spoken, answer.headers["x-voxgate-job-id"]) == "COMPLETED"


async def test_who_comes_later_hears_the_same_speech_and_speaks_nothing(spoken: Caller):
    text = f"{TEXT} Together."
    both = await asyncio.gather(*(ask(spoken, text, response_format="pcm", **SLOW) for _ in range(2)))
    assert [answer.status_code for answer in both] == [200, 200]
    assert both[0].content == both[1].content


@pytest.mark.parametrize("form", ["pcm", "mp3"])
async def test_events_carry_the_audio_and_end_with_what_was_used(spoken: Caller, form: str):
    text = f"{TEXT} Events {form}."
    for _ in range(2):  # spoken, then from the cache
        answer = await ask(spoken, text, response_format=form, stream_format="sse", **SLOW)
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line.removeprefix("data: ")) for line in answer.text.split("\n\n") if line]
        assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
        audio = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
        done = events[-1]
        assert done["type"] == "speech.audio.done"
        usage = done["usage"]
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] > 0
        assert usage["characters"] == len(text)
        if form == "pcm":
            assert usage["audio_ms"] == round(len(audio) / 48)


async def test_the_fast_lane_answers_as_the_handler_does(spoken: Caller):
    text = "A short sentence that both of them know."
    await ask(spoken, text, voice="alloy")
    fast = await ask(spoken, text, voice="alloy")
    slow = await spoken.http.post(
        "/v1/audio/speech",
        json={"model": "tts-1", "input": text, "voice": "alloy"},
        headers={"Idempotency-Key": "keeps it out of the fast lane"},
    )
    assert fast.content == slow.content and fast.status_code == slow.status_code == 200
    names = [{name for name in answer.headers if name != "date"} for answer in (fast, slow)]
    assert names[0] == names[1]
    different = {name for name in names[0] if fast.headers[name] != slow.headers[name]} - {"date"}
    assert different == {"x-voxgate-job-id", "x-request-id"}


@pytest.mark.parametrize("model", [*OPENAI_MODELS, "gpt-4o-mini-tts-2025-12-15", "default", "scripted", "reader"])
async def test_a_model_is_an_endpoint_a_backend_or_a_name_of_openai(spoken: Caller, model: str):
    answer = await ask(spoken, "Who speaks?", model=model, voice=...)
    assert answer.status_code == 200
    found = await spoken.http.get(f"/v1/models/{model}")
    assert found.json()["id"] == model and found.json()["object"] == "model"


async def test_the_models_are_listed(spoken: Caller):
    page = (await spoken.http.get("/v1/models")).json()
    assert page["object"] == "list"
    assert {"default", "reader", "scripted", "hibari", *OPENAI_MODELS} == {model["id"] for model in page["data"]}


async def test_voices_of_openai_are_the_default_voice_with_a_warning_and_our_own_are_themselves(spoken: Caller):
    mapped = await ask(spoken, "Whose voice?", voice="alloy", response_format="pcm")
    assert "scripted has no voice 'alloy'" in mapped.headers["x-voxgate-warning"]
    own = {name: await ask(spoken, "Whose voice?", voice=name, response_format="pcm") for name in ("low", "high")}
    assert "x-voxgate-warning" not in own["low"].headers
    assert mapped.content == own["low"].content != own["high"].content
    endpoint = await ask(spoken, "Whose voice?", model="reader", voice="alloy", response_format="pcm")
    assert endpoint.content == own["high"].content
    as_object = await ask(spoken, "Whose voice?", voice={"id": "high"}, response_format="pcm")
    assert as_object.content == own["high"].content


async def test_strict_speaks_with_the_voice_that_was_asked_for_or_not_at_all(spoken: Caller):
    answer = await ask(spoken, "Whose voice, strictly?", voice="alloy", strict=True)
    error = error_of(answer)
    assert (answer.status_code, error["param"], error["code"]) == (400, "voice", "invalid_value")
    assert "scripted has no voice 'alloy'" in error["message"] and "strict" in error["message"]
    for fields in (
        {"voice": "high", "strict": True},
        {"voice": ..., "strict": True},
        {"voice": "alloy", "strict": False},
    ):
        assert (await ask(spoken, "Whose voice, strictly?", **fields)).status_code == 200


async def test_what_was_not_done_as_asked_is_told_by_both_lanes(spoken: Caller):
    for _ in range(3):
        answer = await ask(spoken, "Drei Boote.", language="haw", normalize="on", voice="nova")
        assert answer.status_code == 200
        told = answer.headers["x-voxgate-warning"]
        assert told.startswith("voice_mapped: ") and "; not_normalized: " in told


async def test_instructions_change_the_speech_of_a_backend_that_takes_them(spoken: Caller):
    told = [await ask(spoken, "Say it.", response_format="pcm", instructions=how) for how in ("", "gladly", "sadly")]
    assert len({answer.content for answer in told}) == 3


REFUSED = [
    ({"model": "tts-2"}, 404, "model", "model_not_found", "did you mean 'tts-1'"),
    ({"model": ...}, 400, "model", "missing_required_parameter", "model"),
    ({"input": ...}, 400, "input", "missing_required_parameter", "input"),
    ({"input": "  "}, 400, "input", "invalid_value", "input is empty"),
    ({"input": 5}, 400, "input", "invalid_type", "must be a string"),
    ({"voice": "hihg"}, 400, "voice", "invalid_value", "did you mean 'high'?; it has: default, low, high"),
    ({"voice": 7}, 400, "voice", "invalid_type", "must be a name"),
    ({"speed": 0.25}, 400, "speed", "invalid_value", "between 0.5 and 2.0 here (0.25 to 4.0 at OpenAI), got 0.25"),
    ({"speed": 9}, 400, "speed", "invalid_value", "between 0.5 and 2.0 here (0.25 to 4.0 at OpenAI), got 9"),
    ({"response_format": "ogg"}, 400, "response_format", "invalid_value", "response_format must be one of mp3"),
    ({"stream_format": "ws"}, 400, "stream_format", "invalid_value", 'must be one of audio, sse, got "ws"'),
    ({"seed": "7"}, 400, "seed", "invalid_type", "must be a whole number between 0 and"),
    ({"voice": {"id": 7}}, 400, "voice", "invalid_type", "voice.id must be a name"),
    ({"instructions": "whisper", "model": "hibari"}, 400, "instructions", "invalid_value", "use the model scripted"),
    ({"instructions": 5}, 400, "instructions", "invalid_type", "must be a string"),
    ({"speeed": 1}, 400, "speeed", "unknown_parameter", "did you mean 'speed'?"),
    ({"options": {"pitch": 2}}, 400, None, "invalid_input", "has no option 'pitch'"),
]


@pytest.mark.parametrize(("fields", "status", "param", "code", "words"), REFUSED)
async def test_what_cannot_be_done_as_asked_is_refused_in_openais_form_and_makes_no_job(
    spoken: Caller, fields: dict[str, Any], status: int, param: str | None, code: str, words: str
):
    before = spoken.gateway.metrics.registry.get_sample_value(
        "voxgate_jobs_submitted_total", {"endpoint": "default", "kind": "runsync"}
    )
    answer = await ask(spoken, **{"text": fields.pop("input", "Hello there."), **fields})
    error = error_of(answer)
    assert (answer.status_code, error["param"], error["code"]) == (status, param, code)
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"
    after = spoken.gateway.metrics.registry.get_sample_value(
        "voxgate_jobs_submitted_total", {"endpoint": "default", "kind": "runsync"}
    )
    assert before == after


@pytest.mark.parametrize(
    ("method", "path", "key", "content", "status", "code"),
    [
        ("POST", "/v1/audio/speech", "", b"{}", 401, "invalid_api_key"),
        ("POST", "/v1/audio/speech", "Bearer wrong", b"{}", 401, "invalid_api_key"),
        ("POST", "/v1/audio/speech", None, b"{", 400, "invalid_json"),
        ("POST", "/v1/audio/speech", None, b"[]", 400, "invalid_value"),
        ("POST", "/v1/audio/speech", None, b'{"model":"tts-1","input":"a","speed":NaN}', 400, "invalid_json"),
        ("POST", "/v1/audio/speech", None, b'{"model":"tts-1","input":"a","speed":1e999}', 400, "invalid_json"),
        ("POST", "/v1/audio/speech", None, b"x" * 200_000, 413, "payload_too_large"),
        ("GET", "/v1/audio/speech", None, b"", 405, "method_not_supported"),
        ("POST", "/v1/chat/completions", None, b"{}", 404, "unknown_url"),
        ("GET", "/v1/models/nobody", None, b"", 404, "model_not_found"),
        ("GET", "/v1/models", "", b"", 401, "invalid_api_key"),
    ],
)
async def test_every_error_below_v1_has_openais_form(
    spoken: Caller, method: str, path: str, key: str | None, content: bytes, status: int, code: str | None
):
    headers = {} if key is None else {"Authorization": key}
    answer = await spoken.http.request(method, path, content=content, headers=headers)
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)


async def test_a_key_that_is_refused_is_told_what_to_send(spoken: Caller):
    answer = await spoken.http.get("/v1/models", headers={"Authorization": "Bearer wrong"})
    assert "send a key of this server" in error_of(answer)["message"]


async def test_half_an_emoji_is_left_out(spoken: Caller):
    answer = await spoken.http.post("/v1/audio/speech", content=b'{"model":"tts-1","input":"half an emoji \\ud83d"}')
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("options", "status", "code", "kind"),
    [
        ({"fail": "no such word"}, 502, "synthesis_failed", "server_error"),
        ({"fail": "not this script", "kind": "unsupported_text"}, 400, "unsupported_text", "invalid_request_error"),
    ],
)
async def test_a_job_that_fails_before_its_first_audio_is_an_error(
    spoken: Caller, options: dict[str, Any], status: int, code: str, kind: str
):
    answer = await ask(spoken, "Nothing comes of it.", options=options)
    error = error_of(answer)
    assert (answer.status_code, error["code"], error["type"]) == (status, code, kind)
    assert options["fail"] in error["message"]


@pytest.mark.parametrize("events", [False, True])
async def test_a_job_that_fails_after_its_first_audio_is_broken_off(tmp_path: Path, events: bool):
    async with running(tmp_path, jobs=JobSettings(chunk_window=1)) as caller:
        body = {
            "model": "tts-1",
            "input": f"{TEXT}\n\nThis word is a curse.",
            "stream_format": "sse" if events else "audio",
            "response_format": "wav",
            "options": {"fail": "cursed", "only": "curse", "chunk_delay_s": 0.1},
        }
        heard = b""
        with pytest.raises(httpx.RemoteProtocolError):
            async with caller.http.stream("POST", "/v1/audio/speech", json=body) as answer:
                assert answer.status_code == 200
                async for piece in answer.aiter_raw():
                    heard += piece
        assert heard
        if events:
            last = json.loads(heard.decode().rstrip().rpartition("data: ")[2])
            assert last["type"] == "error" and "cursed" in last["error"]["message"]


@pytest.mark.parametrize(
    ("jobs", "code"),
    [(JobSettings(ttl_s=1), "ttl_expired"), (JobSettings(stall_timeout_s=1), "timed_out")],
)
async def test_a_job_that_takes_too_long_is_a_504(tmp_path: Path, jobs: JobSettings, code: str):
    async with running(tmp_path, jobs=jobs) as caller:
        answer = await ask(caller, "This takes long.", options={"delay_s": 120})
        assert (answer.status_code, error_of(answer)["code"]) == (504, code)


async def test_a_job_that_somebody_cancels_is_a_503(spoken: Caller):
    asked = asyncio.create_task(ask(spoken, "This is never heard.", options={"delay_s": 120}))
    async with asyncio.timeout(60):
        while not (found := (await spoken.http.get("/requests?status=IN_PROGRESS")).json()["requests"]):
            await asyncio.sleep(0.02)
    await spoken.http.post(f"/cancel/{found[0]['id']}")
    answer = await asked
    assert (answer.status_code, error_of(answer)["code"]) == (503, "cancelled")


async def test_a_limit_is_429_with_retry_after(tmp_path: Path):
    async with running(tmp_path, jobs=JobSettings(queue_limit=0)) as caller:
        answer = await ask(caller)
        assert (answer.status_code, error_of(answer)["code"]) == (429, "rate_limit_exceeded")
        assert error_of(answer)["type"] == "rate_limit_error"
        assert int(answer.headers["retry-after"]) >= 1


async def test_pcm_is_what_the_finished_file_has(spoken: Caller):
    answer = await ask(spoken, "Exactly these samples.", response_format="pcm")
    finished = await spoken.http.post("/runsync", json={"input": {"text": "Exactly these samples.", "format": "flac"}})
    whole, rate = pcm_of(finished.json())
    assert rate == 24_000
    assert np.array_equal(np.frombuffer(answer.content, "<i2"), whole)
