from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError
from support.after import rows
from support.clocks import JumpyClock
from support.running import Caller, running

from gateway.errors import BadRequest
from gateway.jobs.webhooks import deliveries as webhooks
from gateway.jobs.webhooks.guarded_http import AllowList
from gateway.jobs.webhooks.signature import webhook_secret
from gateway.settings import JobSettings
from storage.webhooks import DeliveryRecord, WebhookStore

TEXT = "A receiver waits for this."


class Receiver:
    """A real HTTP server that remembers what it was sent and answers as it is told."""

    def __init__(self) -> None:
        self.statuses: list[int | None] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in head[1:]) if n}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.got.append((headers, body))
        status = self.statuses.pop(0) if self.statuses else 200
        if status is None:
            await asyncio.sleep(30)
        extra = "location: http://127.0.0.1:1/\r\n" if status in (301, 302) else ""
        writer.write(f"HTTP/1.1 {status} X\r\n{extra}content-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async def until(self, n: int) -> None:
        async with asyncio.timeout(20):
            while len(self.got) < n:
                await asyncio.sleep(0.02)


@asynccontextmanager
async def receiving(*statuses: int | None) -> AsyncIterator[Receiver]:
    receiver = Receiver()
    receiver.statuses = list(statuses)
    server = await asyncio.start_server(receiver.handle, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield receiver
    finally:
        server.close()


async def log_of(caller: Caller, job_id: str) -> dict[str, Any]:
    """Return the delivery log of a job's webhooks."""
    answer = await caller.http.get(f"/v2/{caller.endpoint}/webhooks/{job_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "PAUSES_S", (0.05, 0.05, 0.05, 0.05))
    monkeypatch.setattr(webhooks, "POLL_S", 0.05)
    monkeypatch.setattr(webhooks, "TIMEOUT_S", 1.0)


@pytest.mark.parametrize(
    ("fields", "state"),
    [({}, "COMPLETED"), ({"speed": 9}, "FAILED"), ({"options": {"fail": "engine says no"}}, "FAILED")],
)
async def test_a_receiver_gets_the_whole_job_signed(
    tmp_path: Path, quick: None, fields: dict[str, Any], state: str
) -> None:
    async with receiving() as receiver, running(tmp_path, webhook_allow=("127.0.0.1",)) as caller:
        job_id = await caller.run(TEXT, webhook=receiver.url, **fields)
        await receiver.until(1)
        headers, body = receiver.got[0]
        sent = json.loads(body)
        assert (sent["id"], sent["status"]) == (job_id, state)
        assert sent["input"]["text"] == TEXT
        assert sent["webhook"] == receiver.url
        assert ("audio_base64" in sent.get("output", {})) == (state == "COMPLETED")
        secret = webhook_secret((tmp_path / "signing.key").read_bytes().strip(), "default")
        assert Webhook(secret).verify(body, headers) == sent
        for forged in (body + b" ", body.replace(b"waits", b"waxes")):
            with pytest.raises(WebhookVerificationError):
                Webhook(secret).verify(forged, headers)


async def test_a_cancelled_job_and_a_cached_one_are_told_too(tmp_path: Path, quick: None) -> None:
    async with receiving() as receiver, running(tmp_path, webhook_allow=("127.0.0.0/8",)) as caller:
        slow = await caller.run(TEXT, options={"delay_s": 30}, webhook=receiver.url)
        await caller.until(slow, "IN_PROGRESS")
        await caller.post(f"cancel/{slow}")
        await receiver.until(1)
        assert json.loads(receiver.got[0][1])["status"] == "CANCELLED"
        await caller.say(TEXT)
        cached = await caller.run(TEXT, webhook=receiver.url)
        await receiver.until(2)
        sent = json.loads(receiver.got[1][1])
        assert (sent["id"], sent["output"]["cache_hit"]) == (cached, True)


@pytest.mark.slow
async def test_a_job_whose_time_is_over_is_told_with_the_reason(tmp_path: Path, quick: None) -> None:
    jobs = JobSettings(max_running=1, ttl_s=3.0)
    async with receiving() as receiver, running(tmp_path, webhook_allow=("127.0.0.1",), jobs=jobs) as caller:
        runs = await caller.run(TEXT, options={"delay_s": 60}, webhook=receiver.url)
        # It may be claimed when the first one has ended, and must not be spoken before its own time is over.
        waits = await caller.run("It waits behind it.", options={"delay_s": 60}, webhook=receiver.url)
        await receiver.until(2)
        expired = {sent["id"]: sent for sent in map(json.loads, (body for _, body in receiver.got))}
        assert set(expired) == {runs, waits}
        policy = {"executionTimeout": 5000, "ttl": 600_000}
        late = await caller.run(TEXT, options={"delay_s": 60}, policy=policy, webhook=receiver.url)
        await receiver.until(3)
        sent = json.loads(receiver.got[2][1])
        assert (sent["id"], sent["input"]["text"]) == (late, TEXT)
        assert "policy.executionTimeout of 5000 ms" in sent["error"]
        for told in (sent, *expired.values()):
            assert told["status"] == "TIMED_OUT" and "output" not in told
        assert all("policy.ttl" in told["error"] for told in expired.values())


async def test_every_end_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "POLL_S", 3_600.0)
    jobs = JobSettings(max_running=1, ttl_s=600.0)
    async with receiving() as receiver, running(tmp_path, webhook_allow=("127.0.0.1",), jobs=jobs) as caller:
        await caller.say(TEXT)
        slow = await caller.run("It takes long.", options={"delay_s": 600}, webhook=receiver.url)
        await caller.until(slow, "IN_PROGRESS")
        purged = await caller.run("It waits.", webhook=receiver.url)
        assert (await caller.post("purge-queue")).json()["removed"] == 1
        await receiver.until(1)
        cached = await caller.run(TEXT, webhook=receiver.url)
        await receiver.until(2)
        refused = await caller.run(TEXT, speed=9, webhook=receiver.url)
        await receiver.until(3)
        expired = await caller.run("It waits, too.", webhook=receiver.url, policy={"ttl": 10_000})
        await receiver.until(4)
        await caller.post(f"cancel/{slow}")
        await receiver.until(5)
        told = [(sent["id"], sent["status"]) for sent in (json.loads(body) for _, body in receiver.got)]
        assert told == [
            (purged, "CANCELLED"),
            (cached, "COMPLETED"),
            (refused, "FAILED"),
            (expired, "TIMED_OUT"),
            (slow, "CANCELLED"),
        ]


async def test_failures_are_tried_again_until_the_receiver_takes_it(tmp_path: Path, quick: None) -> None:
    async with receiving(500, None, 302) as receiver, running(tmp_path, webhook_allow=("127.0.0.1",)) as caller:
        await caller.run(TEXT, webhook=receiver.url)
        await receiver.until(4)
        await asyncio.sleep(0.3)
        assert len(receiver.got) == 4
        assert len({body for _, body in receiver.got}) == 1
        assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1


async def test_a_retried_job_is_told_once_it_has_ended_again_and_never_before(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "PAUSES_S", (60,) * 10)
    clock = JumpyClock()
    async with receiving(500) as receiver, running(tmp_path, clock, webhook_allow=("127.0.0.1",)) as caller:
        policy = {"ttl": 600_000}
        job_id = await caller.run(TEXT, options={"delay_s": 600}, policy=policy, webhook=receiver.url)
        await caller.until(job_id, "IN_PROGRESS")
        clock.ahead_ms += 601_000
        await caller.until(job_id, "TIMED_OUT")
        async with asyncio.timeout(20):
            while not (await log_of(caller, job_id))["tries"]:
                await asyncio.sleep(0.02)
        assert (await caller.post(f"retry/{job_id}")).json()["status"] == "IN_QUEUE"
        await caller.until(job_id, "IN_PROGRESS")
        clock.ahead_ms += 61_000
        other = await caller.run("It is refused, and that is told.", speed=9, webhook=receiver.url)
        await receiver.until(2)  # the try that was due before had its turn
        (closed,) = (await log_of(caller, job_id))["webhooks"]
        assert (closed["status"], closed["tries"], closed["http_status"]) == ("FAILED", 1, 500)
        assert "retried" in closed["error"] and "due_ms" not in closed
        await caller.post(f"cancel/{job_id}")
        await receiver.until(3)
        sent = [json.loads(body) for _, body in receiver.got]
        assert [(one["id"], one["status"]) for one in sent] == [
            (job_id, "TIMED_OUT"),
            (other, "FAILED"),
            (job_id, "CANCELLED"),
        ]
        assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 3


async def test_a_retry_between_the_taking_of_a_webhook_and_its_sending_leaves_nothing_to_send(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_due, taken, go_on = WebhookStore.take_due, asyncio.Event(), asyncio.Event()

    async def slowly(self: WebhookStore, *args: Any) -> list[DeliveryRecord]:
        found = await take_due(self, *args)
        if found:
            taken.set()
            await go_on.wait()
        return found

    monkeypatch.setattr(WebhookStore, "take_due", slowly)
    async with receiving() as receiver, running(tmp_path, webhook_allow=("127.0.0.1",)) as caller, asyncio.timeout(60):
        job_id = await caller.run(TEXT, options={"fail": "engine says no"}, webhook=receiver.url)
        await taken.wait()
        assert (await caller.post(f"retry/{job_id}")).json()["status"] == "IN_QUEUE"
        await caller.until(job_id, "FAILED")
        go_on.set()
        await receiver.until(1)
        (told, closed) = (await log_of(caller, job_id))["webhooks"]
        ((headers, body),) = receiver.got
        assert headers["webhook-id"] == f"{job_id}_{told['delivery']}"
        assert json.loads(body)["retries"] == 1
        assert closed["status"] == "FAILED" and "retried" in closed["error"]


async def test_what_is_owed_survives_a_restart(tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "PAUSES_S", (1.0,) * 20)
    async with receiving(*(500,) * 20) as receiver:
        async with running(tmp_path, webhook_allow=("127.0.0.1",)) as caller:
            job_id = await caller.run(TEXT, webhook=receiver.url)
            await receiver.until(1)
            # Stopped before the answer is noted, the next try would wait for the lease.
            while rows(tmp_path, "SELECT tries FROM webhook_deliveries") in ([], [(0,)]):
                await asyncio.sleep(0.02)
        refused = len(receiver.got)
        assert rows(tmp_path, "SELECT state FROM webhook_deliveries") == [("PENDING",)]
        receiver.statuses.clear()
        async with running(tmp_path, webhook_allow=("127.0.0.1",)):
            await receiver.until(refused + 1)
        assert json.loads(receiver.got[refused][1])["id"] == job_id


async def test_private_addresses_are_refused_when_asked_and_again_when_connected(tmp_path: Path, quick: None) -> None:
    async with receiving() as receiver, running(tmp_path) as caller:
        for url in (receiver.url, "http://localhost/x", "http://[::1]/", "http://169.254.169.254/", "ftp://a/b", "x"):
            answer = await caller.post("run", {"input": {"text": TEXT}, "webhook": url})
            assert answer.status_code == 400, url
            assert "webhook" in answer.json()["error"]
        # A name passes the first check; what it resolves to does not pass the second.
        job_id = await caller.run(TEXT, webhook=receiver.url.replace("127.0.0.1", "localhost.localdomain"))
        await caller.until(job_id)
        await asyncio.sleep(0.5)
        assert receiver.got == []


def test_the_allow_list_takes_names_addresses_and_networks() -> None:
    from ipaddress import ip_address

    allow = AllowList(["hooks.internal", "10.1.0.0/16", "::1"])
    assert allow.permits("hooks.internal", ip_address("192.168.1.1"))
    assert allow.permits("any", ip_address("10.1.2.3"))
    assert allow.permits("any", ip_address("::1"))
    assert allow.permits("example.org", ip_address("93.184.215.14"))
    for private in ("10.2.0.1", "127.0.0.1", "169.254.169.254", "fe80::1", "0.0.0.0", "224.0.0.1", "240.0.0.1"):
        assert not allow.permits("any", ip_address(private)), private
    for private in ("fd00::1", "fec0::1", "ff0e::1", "::", "4000::1", "64:ff9b:1::1", "64:ff9b:1::5db8:d70e"):
        assert not allow.permits("any", ip_address(private)), private


SPECIAL = (
    "192.0.0.192", "192.0.0.8", "192.0.0.9", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.175.48.1",
    "168.63.129.16", "100.100.100.200", "198.18.0.1", "203.0.113.1", "2001:1::1", "2001:20::1", "2001:db8::1",
    "2620:4f:8000::1", "3fff::1", "5f00::1", "100::1", "100:0:0:1::1",
)  # fmt: skip


@pytest.mark.parametrize("address", SPECIAL)
def test_special_networks_are_not_public(address: str) -> None:
    from ipaddress import ip_address

    assert not AllowList([]).permits("any", ip_address(address))
    assert AllowList([address]).permits("any", ip_address(address))
    with pytest.raises(BadRequest, match="private address"):
        AllowList([]).check_url(f"http://[{address}]/" if ":" in address else f"http://{address}/")


@pytest.mark.parametrize("address", ["1.1.1.1", "168.63.129.17", "192.0.1.1", "2606:4700::1111", "2001:470::1"])
def test_their_neighbours_are_public(address: str) -> None:
    from ipaddress import ip_address

    assert AllowList([]).permits("any", ip_address(address))


WRAPPED = {
    "ISATAP": "2001:470::5efe:{}",
    "ISATAP of a universal identifier": "2001:470::200:5efe:{}",
    "mapped": "::ffff:{}",
    "compatible": "::{}",
    "translated": "::ffff:0:{}",
    "NAT64": "64:ff9b::{}",
    "6to4": "2002:{hex}::1",
    "Teredo's client": "2001:0:5db8:d70e:0:0:{flipped}",
    "Teredo's server": "2001:0:{hex}:0:0:a247:28f1",
}


@pytest.mark.parametrize("name", WRAPPED)
def test_an_ipv6_address_is_as_private_as_the_ipv4_address_within(name: str) -> None:
    from ipaddress import IPv4Address, ip_address

    def wrapped(inner: str) -> Any:
        number = int(IPv4Address(inner))
        parts = [f"{value >> 16:x}:{value & 0xFFFF:x}" for value in (number, number ^ 0xFFFF_FFFF)]
        return ip_address(WRAPPED[name].format(inner, hex=parts[0], flipped=parts[1]))

    nobody, allow = AllowList([]), AllowList(["10.1.0.0/16"])
    for private in ("10.1.2.3", "127.0.0.1", "169.254.169.254", "100.64.0.1"):
        assert not nobody.permits("any", wrapped(private)), wrapped(private)
    assert nobody.permits("any", wrapped("93.184.215.14"))
    assert allow.permits("any", wrapped("10.1.2.3"))
    assert not allow.permits("any", wrapped("10.2.2.3"))
