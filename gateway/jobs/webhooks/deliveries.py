"""Tells callers that their jobs have ended. What is owed stands in the database, so a restart forgets none.

Each delivery is a task of its own: when one ends the next is taken, whoever else still waits for an answer.

The first three tries are RunPod's, ten seconds apart; then the pauses grow until a day is over.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Iterator

import httpx

from gateway.clock import Clock, set_within
from gateway.jobs.webhooks.body import PIECES_BYTES, Bodies, Body
from gateway.jobs.webhooks.budget import Budget, NoRoom
from gateway.jobs.webhooks.guarded_http import AllowList, guarded_client
from gateway.settings.logs import get_logger, lines_of
from storage.errors import StorageError
from storage.webhooks import DeliveryRecord, WebhookStore

TIMEOUT_S = 10.0
AT_ONCE = 64
PER_RECEIVER = 4
"""Of a tenant's webhooks to one host and port, so that one that hangs does not hold its other receivers up."""
LEASE_MS = 60_000
ROOM_S = 30.0
"""How long a webhook waits for room among the bodies under way, in seconds; its lease must outlast that and its try."""
POLL_S = 2.0
REST_S = 0.1
"""After a look that found nothing due: most jobs that end owe no webhook, and a look costs as much as a poll."""
PAUSES_S = (10, 10, 30, 120, 600, 1_800, 3_600, 10_800, 21_600, 43_200)
"""Seconds after the first, second, ... failed try."""

SIGNATURE_HEADER = "X-Voxgate-Signature"
DELIVERY_HEADER = "X-Voxgate-Delivery"

log = get_logger("voxgate.webhooks")


def webhook_secret(signing_key: bytes, tenant: str) -> str:
    """The secret a tenant's receivers verify with: 64 hex digits."""
    return hmac.digest(signing_key, f"webhook\n{tenant}".encode(), "sha256").hex()


def signature(secret: str, timestamp_s: int, body: bytes | Iterator[bytes]) -> str:
    """The header's value: `t=SECONDS,v1=HEX`, an HMAC-SHA256 of `SECONDS.BODY` under the tenant's secret.

    Args:
        body: the whole, or its pieces.
    """
    mac = hmac.new(secret.encode(), f"{timestamp_s}.".encode(), hashlib.sha256)
    for piece in (body,) if isinstance(body, bytes) else body:
        mac.update(piece)
    return f"t={timestamp_s},v1={mac.hexdigest()}"


class Webhooks:
    """Delivers what is owed.

    Args:
        bodies: makes what is sent.
        budget: of the bodies that are under way.
    """

    def __init__(
        self,
        store: WebhookStore,
        bodies: Bodies,
        budget: Budget,
        allow: AllowList,
        signing_key: bytes,
        clock: Clock,
    ) -> None:
        self._store = store
        self._bodies = bodies
        self._budget = budget
        self._signing_key = signing_key
        self._clock = clock
        self._client = guarded_client(allow, TIMEOUT_S)
        self._look = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sending: dict[asyncio.Task[None], DeliveryRecord] = {}

    def start(self) -> None:
        """Begin to deliver."""
        self._task = asyncio.create_task(self._loop(), name="webhooks")

    def wake(self) -> None:
        """A job has ended."""
        self._look.set()

    async def stop(self) -> None:
        """Deliver no more; what is owed stays owed."""
        tasks = [*([] if self._task is None else [self._task]), *self._sending]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    async def _loop(self) -> None:
        while True:
            self._look.clear()
            due: list[DeliveryRecord] = []
            try:
                due = await self._store.take_due(AT_ONCE, PER_RECEIVER, [*self._sending.values()], LEASE_MS)
                for owed in due:
                    task = asyncio.create_task(self._send(owed), name=f"webhook {owed.id}")
                    self._sending[task] = owed
                    task.add_done_callback(self._sent)
            except StorageError as error:
                log.error("webhooks_not_read", code=error.code, reason=str(error))
            except Exception:
                log.exception("webhooks_crashed")
            if not due:
                await asyncio.sleep(REST_S)
            await set_within(self._look, POLL_S)

    def _sent(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        self._look.set()  # there is a place for the next

    async def _send(self, owed: DeliveryRecord) -> None:
        with lines_of(owed.request_id, job_id=owed.job_id):
            try:
                await self._deliver(owed)
            except StorageError as error:  # its lease ends, and it is tried again
                log.error("webhook_not_noted", code=error.code, reason=str(error))
            except Exception:
                log.exception("webhooks_crashed")

    async def _deliver(self, owed: DeliveryRecord) -> None:
        size_bytes = await self._store.text_bytes(owed.id) + PIECES_BYTES
        try:
            async with self._budget.room(owed.tenant, size_bytes, ROOM_S):
                await self._tell(owed)
        except NoRoom:
            error = f"not sent: bodies that are under way took all room for {ROOM_S:g} s (VOXGATE_WEBHOOK_BYTES)"
            await self._failed(owed, None, error)

    async def _tell(self, owed: DeliveryRecord) -> None:
        job = await self._store.ended_job(owed.id)
        if job is None:
            return
        body = await self._bodies.of(job, owed.url)
        tenant = job.tenant
        del job  # its texts are in the body now
        try:
            status = await self._post(owed, tenant, body)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, TimeoutError) as error:
            await self._failed(owed, None, f"{type(error).__name__}: {error}")
            return
        finally:
            body.close()
        if 200 <= status < 300:
            await self._store.delivered(owed.id, status)
        elif 300 <= status < 400:
            await self._failed(owed, status, f"answered {status}; redirects are not followed")
        else:
            await self._failed(owed, status, f"answered {status}")

    async def _post(self, owed: DeliveryRecord, tenant: str, body: Body) -> int:
        timestamp_s = self._clock.now_ms() // 1000
        secret = webhook_secret(self._signing_key, tenant)
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(body.size_bytes),
            "User-Agent": "voxgate",
            DELIVERY_HEADER: str(owed.id),
            SIGNATURE_HEADER: await asyncio.to_thread(signature, secret, timestamp_s, body.read()),
        }
        async with (
            asyncio.timeout(2 * TIMEOUT_S),
            self._client.stream("POST", owed.url, content=body.pieces(), headers=headers) as answer,
        ):
            return answer.status_code

    async def _failed(self, owed: DeliveryRecord, status: int | None, error: str) -> None:
        pause_s = PAUSES_S[owed.tries - 1] if owed.tries <= len(PAUSES_S) else None
        log.warning("webhook_failed", tries=owed.tries, status=status, again_in_s=pause_s)
        await self._store.failed(owed.id, status, error[:500], None if pause_s is None else pause_s * 1000)
