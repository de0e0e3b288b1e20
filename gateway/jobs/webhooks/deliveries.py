"""Delivers webhooks: posts each ended job to its caller's URL. Deliveries are rows, so that a restart loses none.

Each delivery runs as its own task: when one ends, the next due one is taken.

The first three tries are ten seconds apart, as with RunPod; then the pauses grow until a day is over.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import httpx

from gateway.clock import Clock, set_within
from gateway.jobs.webhooks.body import PIECES_BYTES, Bodies, Body
from gateway.jobs.webhooks.budget import Budget, NoRoom
from gateway.jobs.webhooks.guarded_http import AllowList, guarded_client
from gateway.jobs.webhooks.signature import signed_headers, webhook_secret
from gateway.settings.logs import get_logger, lines_of
from storage.errors import StorageError
from storage.webhooks import DeliveryRecord, WebhookStore

TIMEOUT_S = 10.0
AT_ONCE = 64
PER_RECEIVER = 4
"""Maximum deliveries under way of a tenant to one host and port, so that a slow receiver does not block others."""
LEASE_MS = 60_000
ROOM_S = 30.0
"""Seconds that a webhook waits for room in the budget; its lease must outlast that and its try."""
POLL_S = 2.0
REST_S = 0.1
"""Pause after a look that found nothing due: most ended jobs have no webhook, and a look costs as much as a poll."""
PAUSES_S = (10, 10, 30, 120, 600, 1_800, 3_600, 10_800, 21_600, 43_200)
"""Seconds after the first, second, ... failed try."""

log = get_logger("voxgate.webhooks")


class Webhooks:
    """Delivers due webhooks, with retries.

    Args:
        bodies: makes the bodies.
        budget: limits the bytes of bodies under way.
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
        """Start to deliver."""
        self._task = asyncio.create_task(self._loop(), name="webhooks")

    def wake(self) -> None:
        """Look for due deliveries now, since a job has ended."""
        self._look.set()

    async def stop(self) -> None:
        """Stop delivering; undelivered webhooks stay due."""
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
                for delivery in due:
                    task = asyncio.create_task(self._send(delivery), name=f"webhook {delivery.id}")
                    self._sending[task] = delivery
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
        self._look.set()  # a slot is free for the next delivery

    async def _send(self, delivery: DeliveryRecord) -> None:
        with lines_of(delivery.request_id, job_id=delivery.job_id):
            try:
                await self._deliver(delivery)
            except StorageError as error:  # its lease expires, and it is tried again
                log.error("webhook_not_noted", code=error.code, reason=str(error))
            except Exception:
                log.exception("webhooks_crashed")

    async def _deliver(self, delivery: DeliveryRecord) -> None:
        size_bytes = await self._store.text_bytes(delivery.id) + PIECES_BYTES
        try:
            async with self._budget.room(delivery.tenant, size_bytes, ROOM_S):
                await self._deliver_body(delivery)
        except NoRoom:
            error = f"not sent: bodies under way left no room for {ROOM_S:g} s (VOXGATE_WEBHOOK_BYTES)"
            await self._failed(delivery, None, error)

    async def _deliver_body(self, delivery: DeliveryRecord) -> None:
        job = await self._store.ended_job(delivery.id)
        if job is None:
            return
        try:
            async with AsyncExitStack() as held:
                body = await self._bodies.of(job, delivery.url, held)
                tenant = job.tenant
                del job  # its texts are in the body now
                status = await self._post(delivery, tenant, body)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError, TimeoutError) as error:
            await self._failed(delivery, None, f"{type(error).__name__}: {error}")
            return
        if 200 <= status < 300:
            await self._store.delivered(delivery.id, status)
        elif 300 <= status < 400:
            await self._failed(delivery, status, f"answered {status}; redirects are not followed")
        else:
            await self._failed(delivery, status, f"answered {status}")

    async def _post(self, delivery: DeliveryRecord, tenant: str, body: Body) -> int:
        timestamp_s = self._clock.now_ms() // 1000
        secret = webhook_secret(self._signing_key, tenant)
        # With the job's id, since a new database counts its deliveries from 1 again.
        message_id = f"{delivery.job_id}_{delivery.id}"
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(body.size_bytes),
            "User-Agent": "voxgate",
            **await asyncio.to_thread(signed_headers, secret, message_id, timestamp_s, body.read()),
        }
        async with (
            asyncio.timeout(2 * TIMEOUT_S),
            self._client.stream("POST", delivery.url, content=body.pieces(), headers=headers) as answer,
        ):
            return answer.status_code

    async def _failed(self, delivery: DeliveryRecord, status: int | None, error: str) -> None:
        pause_s = PAUSES_S[delivery.tries - 1] if delivery.tries <= len(PAUSES_S) else None
        log.warning("webhook_failed", tries=delivery.tries, status=status, again_in_s=pause_s)
        await self._store.failed(delivery.id, status, error[:500], None if pause_s is None else pause_s * 1000)
