"""Request lists show a tenant's requests to an endpoint, in pages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.running import Caller

from gateway.access.principal import SCOPES

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def listed(real: Caller, path: str, **query: Any) -> list[dict[str, Any]]:
    """Every page of a list."""
    found, before = [], {}
    while True:
        answer = await real.http.get(path, params={**query, **before})
        assert answer.status_code == 200, answer.text
        (name,) = set(answer.json()) - {"next"}
        found += answer.json()[name]
        if "next" not in answer.json():
            return found
        before = {"before": answer.json()["next"]}


@pytest.mark.parametrize("prefix", ["/v2/a-list", ""])
async def test_requests_are_listed_newest_first_in_pages_that_miss_and_repeat_none(real: Caller, prefix: str) -> None:
    made = []
    for n in range(3):
        for verb in ("run", "runsync"):
            answer = await real.http.post(f"{prefix}/{verb}", json={"input": {"text": f"listed {prefix} {verb} {n}"}})
            made.append(answer.json()["id"])
    failed = (await real.http.post(f"{prefix}/run", json={"input": {"text": "a", "speed": 9}})).json()["id"]
    async with asyncio.timeout(30):
        while any(job["status"] == "IN_QUEUE" for job in await listed(real, f"{prefix}/requests")):
            await asyncio.sleep(0.02)
    for limit in (1, 2, 100):
        ids = [job["id"] for job in await listed(real, f"{prefix}/requests", limit=limit)]
        assert ids == [failed, *reversed(made)]
    (only,) = await listed(real, f"{prefix}/requests", status="FAILED")
    assert (only["id"], only["error_code"]) == (failed, "invalid_input")
    assert only["error"] == (await real.http.get(f"{prefix}/status/{failed}")).json()["error"]
    job = (await listed(real, f"{prefix}/requests", status="COMPLETED"))[0]
    assert "error" not in job
    assert {"id", "status", "created_ms", "started_ms", "finished_ms", "delayTime", "executionTime"} <= set(job)
    assert job["characters"] == len(f"listed {prefix} runsync 2")
    assert job["created_ms"] <= job["started_ms"] <= job["finished_ms"]


async def test_a_stranger_sees_an_empty_list_and_no_webhooks(real: Caller) -> None:
    mine = (await real.http.post("/v2/shy/run", json={"input": {"text": "private"}})).json()["id"]
    made = await real.gateway.access.keys.create(tenant="stranger", scopes=SCOPES)
    await real.gateway.access.refresh()
    theirs = {"Authorization": made.secret}
    assert (await real.http.get("/v2/shy/requests", headers=theirs)).json() == {"requests": []}
    assert (await real.http.get("/v2/shy/webhooks", headers=theirs)).json() == {"webhooks": []}
    assert (await real.http.get(f"/v2/shy/webhooks/{mine}", headers=theirs)).status_code == 404
    assert (await real.http.get(f"/v2/shy/webhooks/{mine}")).json() == {"webhooks": [], "tries": []}


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "status=RUNNING", "before=" + "a" * 200])
async def test_a_query_that_cannot_be_is_400(real: Caller, query: str) -> None:
    answer = await real.http.get(f"/requests?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["error"]
