"""A stranger's job is answered like an id nobody has: the same words, after the same queries."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import Engine, event
from support.running import Caller, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODYS = "01890000-0000-7000-8000-000000000000-v1"
NOBODYS_SYNC = "sync-01890000-0000-7000-8000-000000000000-v1"
SCOPES = ("speak", "voices", "admin")
BACKGROUND = ("INSERT", "UPDATE jobs SET beat")
"""Written whatever anybody asks: answers, written behind, and the heartbeat of a job that is being spoken."""


@contextmanager
def statements_about(job_id: str) -> Iterator[list[str]]:
    """SQL that asks for this id, as it is executed; background work asks for others."""
    found: list[str] = []

    def executed(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if job_id in str(parameters) and not statement.startswith(BACKGROUND):
            found.append(statement)

    event.listen(Engine, "before_cursor_execute", executed)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", executed)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def owner(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Caller]:
    async with running(tmp_path_factory.mktemp("gateway")) as caller:
        yield caller


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def jobs(owner: Caller) -> AsyncIterator[dict[str, str]]:
    """The owner's jobs in every state, and where they are kept."""
    found = {"COMPLETED": await owner.run("Told to nobody else.")}
    await owner.until(found["COMPLETED"])
    found["COMPLETED, looked at"] = await owner.run("Looked at a moment ago.")
    await owner.until(found["COMPLETED, looked at"])
    await owner.status(found["COMPLETED, looked at"])
    found["COMPLETED, not written yet"] = (await owner.say("Looked at a moment ago."))["id"]
    found["FAILED"] = await owner.run("This fails.", options={"fail": True})
    await owner.until(found["FAILED"], "FAILED")
    found["FAILED for its input"] = await owner.run("")
    found["IN_PROGRESS"] = await owner.run("This takes long.", options={"delay_s": 300})
    await owner.until(found["IN_PROGRESS"], "IN_PROGRESS")
    found["CANCELLED"] = await owner.run("This is stopped.", options={"delay_s": 300})
    await owner.post(f"cancel/{found['CANCELLED']}")
    yield found
    await owner.post(f"cancel/{found['IN_PROGRESS']}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stranger(owner: Caller) -> AsyncIterator[Caller]:
    made = await owner.gateway.access.keys.create(tenant="stranger", scopes=SCOPES)
    await owner.gateway.access.refresh()
    headers = {"Authorization": f"Bearer {made.secret}"}
    async with httpx.AsyncClient(base_url=owner.http.base_url, headers=headers, timeout=60) as http:
        yield Caller(owner.gateway, http)


async def verbs(owner: Caller) -> list[tuple[str, str]]:
    """Every operation on a job that the document knows."""
    document = (await owner.http.get("/openapi.json")).json()
    found = [
        (method.upper(), path)
        for path, item in document["paths"].items()
        if path.startswith("/v2/") and re.search(r"\{(job_id|file)\}", path)
        for method in item
        if method != "head"
    ]
    assert len(found) >= 9, found
    return found


async def answered(caller: Caller, method: str, path: str, job_id: str) -> tuple[int, str, list[str], list[str]]:
    address = path.replace("{endpoint_id}", caller.endpoint).replace("{job_id}", job_id)
    address = address.replace("{file}", f"{job_id}.srt")
    with statements_about(job_id) as executed:
        async with asyncio.timeout(60):
            answer = await caller.http.request(method, address)
    return answer.status_code, answer.text.replace(job_id, "ID"), sorted(answer.headers), executed


@pytest.mark.parametrize(
    "kind",
    ["COMPLETED", "COMPLETED, looked at", "COMPLETED, not written yet", "FAILED", "FAILED for its input", "IN_PROGRESS",
     "CANCELLED"],
)  # fmt: skip
async def test_every_verb_answers_a_strangers_id_like_one_nobody_has(
    owner: Caller, stranger: Caller, jobs: dict[str, str], kind: str
) -> None:
    job_id = jobs[kind]
    nobodys = NOBODYS_SYNC if job_id.startswith("sync-") else NOBODYS
    before = await owner.status(job_id)
    for method, path in await verbs(owner):
        asked = await answered(stranger, method, path, job_id)
        assert asked[0] == 404, (method, path)
        assert asked == await answered(stranger, method, path, nobodys), (method, path)
        assert len(asked[3]) == 1, (method, path, asked[3])
    after = await owner.status(job_id)
    assert (before["status"], before.get("retries")) == (after["status"], after.get("retries"))


async def test_a_job_is_unknown_at_another_endpoint_even_to_its_owner(owner: Caller, jobs: dict[str, str]) -> None:
    elsewhere = Caller(owner.gateway, owner.http, "elsewhere")
    for method, path in await verbs(owner):
        asked = await answered(elsewhere, method, path, jobs["COMPLETED"])
        assert asked[0] == 404 and asked == await answered(elsewhere, method, path, NOBODYS), (method, path)


async def test_what_a_tenant_lists_and_purges_is_its_own(owner: Caller, stranger: Caller, jobs: dict[str, str]) -> None:
    for address in ("requests", "webhooks", f"requests?before={jobs['COMPLETED']}", "requests?before=z"):
        assert [] in (await stranger.http.get(f"/v2/tests/{address}")).json().values()
    assert (await stranger.post("purge-queue")).json()["removed"] == 0
    assert (await owner.status(jobs["IN_PROGRESS"]))["status"] == "IN_PROGRESS"
    assert jobs["COMPLETED"] not in (await stranger.http.get("/usage")).text


async def test_a_strangers_idempotency_key_is_nobodys(owner: Caller, stranger: Caller) -> None:
    headers = {"Idempotency-Key": "the same for both"}
    ids = set()
    for caller, text in ((owner, "One of mine."), (stranger, "One of mine."), (owner, "One of mine.")):
        answer = await caller.post("run", {"input": {"text": text}}, headers=headers)
        assert answer.status_code == 200
        ids.add(answer.json()["id"])
    assert len(ids) == 2


async def test_a_strangers_voice_and_words_are_unknown(owner: Caller, stranger: Caller) -> None:
    entries = {"entries": [{"phrase": "voxgate", "respelling": "vocks gate"}]}
    answer = await owner.http.request("POST", "/pronunciations", json=entries)
    assert answer.status_code == 200, answer.text
    assert (await stranger.http.get("/pronunciations")).json()["entries"] == []
    for method, address in (("GET", "voices/mine/audio"), ("DELETE", "voices/mine"), ("HEAD", "voices/mine/audio")):
        assert (await stranger.http.request(method, f"/v2/tests/{address}")).status_code == 404
