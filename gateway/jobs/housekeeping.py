"""Ends expired jobs and deletes old data: ttl, retention, eviction, sweeping."""

from __future__ import annotations

from collections.abc import Callable

from gateway.jobs.answer.answers import Answers
from gateway.jobs.model.server import Server
from gateway.jobs.model.stores import Stores
from gateway.periodic import Periodic, attempt
from gateway.settings.logs import get_logger
from storage.errors import StorageError
from storage.files.sweeper import Sweeper

TTL_EVERY_S = 1.0
"""Seconds between checks for jobs whose ttl is over."""

OUTCOMES_KEPT_MS = 86_400_000
"""Milliseconds for which each outcome has a row of its own; older ones are kept as sums per hour."""

log = get_logger("voxgate.jobs")


class Housekeeping:
    """Two loops: a fast one for ttl and use counts of cache entries, a slow one for everything that deletes.

    Args:
        ended: called with the ids of jobs that have ended.
        age: frees stream sessions that were not polled for a while.
    """

    def __init__(
        self,
        server: Server,
        stores: Stores,
        sweeper: Sweeper,
        answers: Answers,
        ended: Callable[..., None],
        age: Callable[[], None],
    ) -> None:
        self._settings = server.settings
        self._clock = server.clock
        self._metrics = server.metrics
        self._jobs = stores.jobs
        self._cache = stores.cache
        self._takes = stores.takes
        self._voices = stores.voices
        self._outcomes = stores.outcomes
        self._sweeper = sweeper
        self._answers = answers
        self._ended = ended
        self._age = age
        self._periodic = Periodic(server.clock)

    def start(self) -> None:
        """Start both loops."""
        self._periodic.every(TTL_EVERY_S, "housekeeping", self.tick)
        # A kill may have left a sweep half done, and a server that is often killed may never reach a sweep.
        first = (self._sweeper.recover, self._sweeper.clear_spools)
        self._periodic.every(self._settings.cache.sweep_every_s, "sweep", self.sweep, first=first)

    async def stop(self) -> None:
        """Stop both loops; write the use counts of cache entries."""
        await self._periodic.stop()
        await attempt("housekeeping", self._note_used)

    async def tick(self) -> None:
        """End jobs past their ttl; write the use counts of cache entries; update gauges."""
        ended = await self._jobs.ends.expire_ttl()
        if ended:
            self._ended(*ended)
            log.info("ttl_expired", jobs=len(ended))
        self._age()
        await self._note_used()
        self._metrics.jobs_queued.set(await self._jobs.waiting())
        self._metrics.count_held()

    async def _note_used(self) -> None:
        used = self._answers.take_used()
        if used:
            await self._cache.touch_many(used)

    async def sweep(self) -> None:
        """Delete jobs past their retention, entries and takes over their budgets, and unreferenced files.

        Raises:
            StorageError: storage failed in a step; the later steps wait for the next sweep. Any other exception in a
                step is logged, and the next step runs.
        """
        for step in (
            self._delete_retained,
            self._fold_outcomes,
            self._note_used,
            self._evict,
            self._evict_takes,
            self._sweep_files,
        ):
            try:
                await step()
            except StorageError:
                raise
            except Exception:
                log.exception("housekeeping_crashed", step=step.__name__.strip("_"))

    async def _delete_retained(self) -> None:
        await self._jobs.delete_retained()

    async def _fold_outcomes(self) -> None:
        await self._outcomes.fold(self._clock.now_ms() - OUTCOMES_KEPT_MS)

    async def _evict(self) -> None:
        """Evict cache entries. Runs after `_note_used`, so that answers from memory count as use."""
        cache = self._settings.cache
        max_age_ms = None if cache.max_age_s is None else round(cache.max_age_s * 1000)
        await self._voices.delete_orphans()
        await self._cache.evict(cache.max_bytes, max_age_ms)
        await self._answers.look()

    async def _evict_takes(self) -> None:
        await self._takes.evict(self._settings.cache.takes_bytes)

    async def _sweep_files(self) -> None:
        swept = await self._sweeper.sweep()
        self._metrics.swept_blobs.inc(swept.blobs)
