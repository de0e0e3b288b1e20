"""A missing backend is reported to callers and to the operator."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog
from support.running import running

from gateway.settings import EndpointSettings

CURE = "(pip install 'voxgate[chatterbox]')"
ABSENT = "Model not initialized: backend chatterbox is missing: "

MEANT = {
    "by default_backend": {"plugins": ("chatterbox", "scripted"), "default_backend": "chatterbox"},
    "by plugins": {"plugins": ("chatterbox",)},
    "by the endpoint": {
        "plugins": ("chatterbox", "scripted"), "endpoints": {"tests": EndpointSettings(backend="chatterbox")}
    },
}  # fmt: skip


@pytest.mark.parametrize("meant", MEANT)
async def test_a_job_for_a_backend_that_is_not_installed_ends_with_the_words_clients_know(
    tmp_path: Path, no_chatterbox: None, meant: str
) -> None:
    async with running(tmp_path, **MEANT[meant]) as caller:
        job = await caller.say("Hello.")
        assert job["status"] == "FAILED"
        assert job["error"].startswith(ABSENT)
        assert job["error"].endswith(CURE)
        queued = await caller.until(await caller.run("Hello."))
        assert queued["error"] == job["error"]
        listed = (await caller.http.get("/v2/tests/requests")).json()["requests"]
        assert {one["error_code"] for one in listed} == {"model_not_initialized"}
        retried = await caller.post(f"retry/{queued['id']}")
        assert retried.status_code == 409
        assert "send it again" in retried.json()["error"]
        streamed = await caller.http.get(f"/v2/tests/stream/{queued['id']}")
        assert streamed.json()["status"] == "FAILED"
        body = {"model": "tests" if "endpoints" in MEANT[meant] else "tts-1", "input": "Hello.", "voice": "alloy"}
        spoken = await caller.http.post("/v1/audio/speech", json=body)
        assert spoken.status_code == 503
        assert spoken.json()["error"]["message"] == job["error"]


async def test_one_that_a_request_names_is_missed_if_it_is_registered_and_wrong_if_it_is_not(
    tmp_path: Path, no_chatterbox: None
) -> None:
    async with running(tmp_path, plugins=("chatterbox", "scripted")) as caller:
        missing = (await caller.say("Hello.", backend="chatterbox"))["error"]
        assert missing.startswith(ABSENT)
        assert missing.endswith(CURE)
        unknown = (await caller.say("Hello.", backend="scriptet"))["error"]
        assert unknown.startswith("backend 'scriptet' is not loaded, did you mean 'scripted'?; loaded: scripted.")
        may_not = (await caller.say("Hello.", backend="hibari"))["error"]
        assert may_not.startswith("backend 'hibari' is not loaded; loaded: scripted.")
        listed = (await caller.http.get("/v2/tests/requests")).json()["requests"]
        codes = [one["error_code"] for one in listed]  # the newest first
        assert codes == ["invalid_input", "invalid_input", "model_not_initialized"]


async def test_the_start_warns_of_backends_that_were_named_and_are_not_there(
    tmp_path: Path, no_chatterbox: None
) -> None:
    made = {
        "one": EndpointSettings(backend="chatterbox"),
        "two": EndpointSettings(backend="scripted", policy={"fallback": ["chatterbox", "hibari"]}),
    }
    with structlog.testing.capture_logs() as lines:
        async with running(
            tmp_path, plugins=("chatterbox", "scripted"), default_backend="chatterbox", endpoints=made
        ) as caller:
            assert (await caller.http.get("/health/ready")).status_code == 200
    chatterbox, hibari = [line for line in lines if line["event"] == "backend_absent"]
    assert (chatterbox["backend"], hibari["backend"]) == ("chatterbox", "hibari")
    assert chatterbox["log_level"] == hibari["log_level"] == "warning"
    assert chatterbox["named_by"] == (
        "VOXGATE_PLUGINS", "VOXGATE_DEFAULT_BACKEND", "endpoint one", "endpoint two, as fallback"
    )  # fmt: skip
    assert chatterbox["reason"].startswith("backend chatterbox is missing: ")
    assert chatterbox["cure"] == CURE.strip("()")
    assert hibari["reason"] == "backend hibari loads only when VOXGATE_PLUGINS names it"


async def test_a_server_on_which_nobody_can_speak_is_not_ready(tmp_path: Path, no_chatterbox: None) -> None:
    async with running(tmp_path, plugins=("chatterbox",)) as caller:
        answer = await caller.http.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json()["error"].startswith("no backend can speak here: backend chatterbox is missing: ")
        assert (await caller.http.get("/health/live")).status_code == 200


async def test_a_server_whose_model_cannot_be_loaded_now_stays_ready(tmp_path: Path) -> None:
    async with running(tmp_path, backends={"scripted": {"load_fails": "unavailable"}}) as caller:
        assert (await caller.say("Hello."))["error"].startswith("Model not initialized")
        ready = await caller.http.get("/health/ready")
        assert ready.status_code == 200
        assert ready.json()["checks"] == {"database": "ok", "scripted": "unavailable"}
