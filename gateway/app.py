"""The server: builds every part and wires them together. The module holds no rule."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from gateway.access.service import Access
from gateway.access.signing import Signer, signing_key
from gateway.api import build_app
from gateway.api.http.ports import GatewayPort
from gateway.api.openai.surface import OPENAI
from gateway.api.own.surface import OWN
from gateway.api.runpod.surface import RUNPOD
from gateway.clock import Clock, SystemClock, set_within
from gateway.engines.outcomes import count_failures
from gateway.engines.registry import Engines
from gateway.errors import SettingsError, Unavailable
from gateway.jobs.answer.answering import Answering
from gateway.jobs.answer.answers import Answers
from gateway.jobs.answer.health import HealthReport
from gateway.jobs.answer.job_view import JobViews
from gateway.jobs.answer.recent import Recent
from gateway.jobs.answer.totals import Totals
from gateway.jobs.answer.write_behind import WriteBehind
from gateway.jobs.housekeeping import Housekeeping
from gateway.jobs.listen.follow import Followers, fresh_signal, take_signal
from gateway.jobs.listen.stream import Streams
from gateway.jobs.lists import Lists
from gateway.jobs.live import LiveSpeech
from gateway.jobs.model.notices import Notices
from gateway.jobs.model.server import Server
from gateway.jobs.model.signals import Signals
from gateway.jobs.model.stores import Stores
from gateway.jobs.plan.assign import Assigner
from gateway.jobs.plan.routes import Routes
from gateway.jobs.run.claimer import Claimer
from gateway.jobs.run.endings import Endings
from gateway.jobs.run.leases import Leases
from gateway.jobs.run.runner import Runner
from gateway.jobs.service import Jobs
from gateway.jobs.webhooks.body import Bodies
from gateway.jobs.webhooks.budget import Budget
from gateway.jobs.webhooks.deliveries import Webhooks
from gateway.jobs.webhooks.guarded_http import AllowList
from gateway.library.pronunciations import Pronunciations
from gateway.library.voices import VoiceLibrary
from gateway.metrics import Metrics
from gateway.routing.absent import absent_backends, no_backend_reason
from gateway.routing.endpoints import Endpoints
from gateway.routing.models import Models
from gateway.routing.router import Router
from gateway.settings import Settings
from gateway.settings.address import address as address_of
from gateway.settings.logs import get_logger
from gateway.speech.planner import Planner
from gateway.speech.sound.finish import post
from gateway.speech.speak.fresh_takes import FreshTakes
from gateway.speech.speak.retries import Retries
from gateway.speech.speak.speaker import Speaker
from gateway.speech.speak.take_store import StoredTakes
from gateway.speech.speak.takes import Takes
from gateway.web import pages
from storage.cache_entries import CacheStore
from storage.db.clock_file import ClockFile
from storage.db.database import Database
from storage.db.listener import NoticeHandler
from storage.db.notices import Topic
from storage.endpoints import EndpointStore
from storage.errors import StorageError
from storage.files.audio import AudioStore
from storage.files.free_space import FreeSpace
from storage.files.recordings import local_recording
from storage.files.sweeper import Sweeper
from storage.jobs.counts import JobCountStore
from storage.jobs.pages import JobPages
from storage.jobs.queue import JobStore
from storage.outcomes import OutcomeStore
from storage.pronunciations import PronunciationStore
from storage.records import JobRecord, Retention
from storage.takes import TakeStore
from storage.voices import VoiceStore
from storage.webhooks import WebhookStore

SURFACES = (RUNPOD, OPENAI, OWN)
"""The public APIs of a server."""

REFRESH_S = 0.5
"""Seconds between checks for changes by other processes to endpoints, voices and cache; seen within one second."""

CLOCK_S = 60.0
"""Seconds between reads of the time that servers share."""

log = get_logger("voxgate.app")


class Gateway:
    """One server. `start` opens the database and loads engines; `stop` finishes running jobs or hands them back."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        address: str | None = None,
        planner: Planner | None = None,
    ) -> None:
        """Make a server.

        Args:
            address: where it listens, if that differs from the settings.
            planner: reads and plans texts; None makes the usual one.
        """
        self.settings = settings
        self._address = address or address_of(settings.host, settings.port)
        self.clock = clock or SystemClock()
        self.metrics = Metrics()
        self.owner = f"w-{os.getpid():x}-{os.urandom(4).hex()}"
        self.engines = Engines(settings, post, self.clock, load_material=partial(local_recording, settings.audio_dir))
        for hosted in self.engines:
            hosted.host.on_outcome.subscribe(count_failures(self.metrics))
            hosted.host.on_voices.append(lambda: self._voices_changed(gone=True))
        self.planner = planner or Planner(clock=self.clock)
        self.signer = Signer(signing_key(settings), self.clock)
        self._database = Database(settings.database_url)
        self.access = Access(self._database, settings, self.clock)
        self._started = False
        self._refresh: asyncio.Task[None] | None = None
        self._clock_file: ClockFile | None = None
        self._refresh_now = asyncio.Event()
        self._stopping = False
        self._build(self._database)

    def _build(self, database: Database) -> None:
        settings, clock, metrics = self.settings, self.clock, self.metrics
        self._audio = audio = AudioStore(settings.audio_dir, metrics.damaged_files.inc)
        self._space = FreeSpace(settings.work_dirs, settings.min_free_bytes)
        jobs_kept = Retention(
            run_ms=round(settings.jobs.retention_run_s * 1000),
            runsync_ms=round(settings.jobs.retention_runsync_s * 1000),
        )
        stores = Stores(
            jobs=JobStore(database, clock, jobs_kept),
            cache=CacheStore(database, clock),
            takes=TakeStore(database, clock),
            voices=VoiceStore(database, clock),
            outcomes=OutcomeStore(database, clock),
            audio=audio,
        )
        server = Server(settings=settings, clock=clock, metrics=metrics, owner=self.owner)
        self.endpoints = Endpoints(settings, EndpointStore(database))
        self.access.count_endpoints_by(self.endpoints.label)
        known = {hosted.name: hosted for hosted in self.engines}
        self.voices = VoiceLibrary(stores.voices, audio, self.engines.dsp, clock, self._voices_changed)
        self.router = router = Router(
            known, settings.default_backend, self.voices.find, self.voices.names, self.engines.infos
        )
        self.pronunciations = Pronunciations(PronunciationStore(database), clock, lambda: self._assigner.forget())
        self._assigner = assigner = Assigner(settings, router, self.pronunciations, self.planner)
        self._answers = answers = Answers(settings, stores.cache, audio, self.signer.sign, clock)
        self._signals = signals = Signals()
        recent = Recent(clock, settings.cache.hot_bytes)
        metrics.hold(lambda: answers.hot_bytes + recent.size_bytes + assigner.held_bytes)

        def ran(finished: JobRecord | None, ended: tuple[str, ...]) -> None:
            if finished is not None:
                recent.add(finished)
            signals.notify(*ended, *map(take_signal, ended))
            self._webhooks.wake()

        notices = Notices(
            signals=signals,
            ended=partial(self._jobs_ended, signals),
            ran=ran,
            kept=lambda job_id: signals.notify(take_signal(job_id)),
        )
        routes = Routes(endpoints=self.endpoints, assigner=assigner, reload=self._reload)
        server_takes = Takes(
            stored=StoredTakes(stores.takes, audio),
            fresh=FreshTakes(lambda key: signals.notify(fresh_signal(key))),
            dsp=self.engines.dsp,
        )
        speaker = Speaker(
            server_takes, metrics, window=settings.jobs.chunk_window, retries=Retries(clock, settings.jobs.take_retries)
        )
        endings = Endings(server=server, stores=stores, endpoints=self.endpoints, answers=answers, notices=notices)
        runner = Runner(
            server=server, stores=stores, routes=routes, engines=self.engines, speaker=speaker, endings=endings
        )
        self._claimer = claimer = Claimer(
            server=server, store=stores.jobs, engines=self.engines, runner=runner, space=self._space
        )
        self._leases = Leases(server=server, leases=stores.jobs.leases, claimer=claimer)
        self._housekeeping = Housekeeping(
            server=server,
            stores=stores,
            sweeper=Sweeper(database, audio, clock, settings.cache.blob_grace_s),
            answers=answers,
            ended=notices.ended,
            age=lambda: self.streams.age(),
        )
        self._write_behind = WriteBehind(stores.jobs, self.access.note_usage, clock)
        counts = JobCountStore(database)
        self._totals = Totals(counts, database.tally, clock)
        self.health = HealthReport(
            store=stores.jobs,
            counts=counts,
            totals=self._totals,
            engines=self.engines,
            router=router,
            space=self._space,
        )
        answering = Answering(
            answers=answers,
            recent=recent,
            write_behind=self._write_behind,
            health=self.health,
            views=JobViews(answers, self.health, claimer.running, clock),
        )
        webhooks = WebhookStore(database, clock)
        self.lists = Lists(self.endpoints, JobPages(database), webhooks)
        self._webhooks = Webhooks(
            store=webhooks,
            bodies=Bodies(answering.views, answers, settings.public_url or self._address),
            budget=(bodies_budget := Budget(settings.webhook_bytes)),
            allow=AllowList(settings.webhook_allow),
            signing_key=signing_key(settings),
            clock=clock,
        )
        metrics.webhook_bytes.set_function(lambda: bodies_budget.held_bytes)
        self.jobs = Jobs(
            server=server,
            store=stores.jobs,
            routes=routes,
            answering=answering,
            claimer=claimer,
            notices=notices,
        )
        followers = Followers(
            stores=stores,
            routes=routes,
            takes=server_takes,
            signals=signals,
            settle=self._write_behind.settle,
        )
        self.streams = streams = Streams(followers, stores.jobs, clock, settings.cache.stream_bytes)
        metrics.stream_bytes.set_function(lambda: streams.held_bytes)
        self.live = LiveSpeech(self.jobs, followers, stores.jobs.ends)
        self.models = Models(self.endpoints, known)

    @property
    def port(self) -> GatewayPort:
        """The parts that the HTTP API uses."""
        return GatewayPort(
            signer=self.signer,
            clock=self.clock,
            settings=self.settings,
            access=self.access,
            jobs=self.jobs,
            lists=self.lists,
            streams=self.streams,
            live=self.live,
            models=self.models,
            endpoints=self.endpoints,
            router=self.router,
            voices=self.voices,
            pronunciations=self.pronunciations,
            engines=self.engines,
            metrics=self.metrics,
            start=self.start,
            stop=self.stop,
            ready=self.ready,
        )

    async def start(self) -> None:
        """Open the database, load the engines, start to claim jobs.

        Raises:
            SettingsError, StorageError, OSError: the server cannot start; everything opened is closed again.
        """
        await self._database.connect()
        try:
            await self._set_clock(self._database)
            await self.access.start()
            await self.endpoints.refresh()
            await self.voices.refresh()
            await self.pronunciations.refresh()
        except BaseException:
            await self.access.stop()
            await self._database.close()
            raise
        self.engines.start()
        self._claimer.start()
        self._leases.start()
        self._housekeeping.start()
        self._totals.start()
        self._write_behind.start()
        self._webhooks.start()
        self._refresh = asyncio.create_task(self._refresh_loop(self._database), name="endpoints")
        self._database.listen(self._notice_handlers(self._signals))
        known = {hosted.name for hosted in self.engines}
        for missing in absent_backends(self.settings, self.endpoints.all(), known, self.engines.infos):
            log.warning(
                "backend_absent",
                backend=missing.backend,
                named_by=missing.named_by,
                reason=missing.reason,
                cure=missing.cure,
            )
        self._started = True
        log.info("started", owner=self.owner, backends=sorted(known))

    async def stop(self) -> None:
        """Refuse new jobs, finish running jobs or hand them back, write pending rows, close."""
        self._stopping = True
        if not self._started:
            return
        self.jobs.refuse_new()
        if self._refresh is not None:
            self._refresh.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._refresh
        stops: Mapping[str, Callable[[], Awaitable[None]]] = {
            "claimer": partial(self._claimer.stop, self.settings.shutdown_grace_s),
            "engines": partial(self.engines.stop, 1.0),
            "planner": self.planner.stop,
            "leases": self._leases.stop,
            "housekeeping": self._housekeeping.stop,
            "totals": self._totals.stop,
            "write-behind": self._write_behind.stop,
            "webhooks": self._webhooks.stop,
            "access": self.access.stop,
            "database": self._database.close,
        }
        for part, stop in stops.items():
            try:
                await stop()
            except Exception:  # the other parts must still write their pending rows
                log.exception("part_not_stopped", part=part)
        log.info("stopped", owner=self.owner)

    async def ready(self) -> Mapping[str, str]:
        """Check that the server can work; return the state of the database and of each backend.

        Raises:
            Unavailable: the server is stopping, its database does not answer, its audio folder is missing, a disk is
                full, or no backend is loaded here. A backend that cannot load its model now raises nothing: it tries
                again, and cached requests are answered meanwhile.
        """
        if self._stopping or not self._started:
            raise Unavailable("the server is starting or stopping")
        try:
            await self._database.answers()
            await self._audio.ensure()
            self._space.check()
        except StorageError as error:
            raise Unavailable(str(error)) from error
        if not len(self.engines):
            raise Unavailable(no_backend_reason({info.name: info for info in self.engines.infos}))
        return {"database": "ok", **{backend.name: backend.state for backend in self.health.backends()}}

    def _jobs_ended(self, signals: Signals, *job_ids: str) -> None:
        """Notify that these jobs ended outside this server's runner; without ids, any job may have ended."""
        if job_ids:
            signals.notify(*job_ids, *map(take_signal, job_ids))
        else:
            signals.notify_all()
        if not job_ids or not self._claimer.running.keys().isdisjoint(job_ids):
            self._leases.look()
        self._webhooks.wake()

    def _notice_handlers(self, signals: Signals) -> Mapping[Topic, NoticeHandler]:
        """Map each topic that other servers notify to its handler."""

        return {
            Topic.QUEUE: lambda _: self._claimer.wake(),
            Topic.JOBS: lambda job_ids: self._jobs_ended(signals, *job_ids),
            Topic.TAKES: lambda job_ids: signals.notify(*map(take_signal, job_ids)),
            Topic.KEYS: lambda _: self.access.keys_changed(),
            Topic.CACHE: lambda _: self._refresh_now.set(),
            Topic.ENDPOINTS: lambda _: self._refresh_now.set(),
            Topic.VOICES: lambda _: self._refresh_now.set(),
            Topic.PRONUNCIATIONS: lambda _: self._refresh_now.set(),
        }

    def _voices_changed(self, gone: bool) -> None:
        """Forget requests read with the old voices; if a voice is gone, drop all hot answers too."""
        self._assigner.forget()
        if gone:
            self._answers.forget_all()

    async def _reload(self) -> None:
        """Read again voices, pronunciations and endpoints, which other processes may have changed."""
        await self.voices.refresh()
        await self.pronunciations.refresh()
        if await self.endpoints.refresh():
            self._assigner.forget()

    async def _set_clock(self, database: Database) -> None:
        """Follow the clock of PostgreSQL; on SQLite, continue and store the kept time.

        Servers that share jobs must agree on which times are past.
        """
        if not isinstance(self.clock, SystemClock):
            return
        shared_ms = await database.now_ms()
        if shared_ms is not None:
            self.clock.follow(shared_ms)
            return
        if self._clock_file is None:
            self._clock_file = ClockFile(self.settings.work_dirs[0], self.clock)
            await asyncio.to_thread(self._clock_file.restore)
        await asyncio.to_thread(self._clock_file.save)

    async def _refresh_loop(self, database: Database) -> None:
        clock_set = self.clock.monotonic()
        version: Any = None
        while True:
            await set_within(self._refresh_now, REFRESH_S)
            self._refresh_now.clear()
            try:
                seen = await database.data_version()
                if seen != version:
                    await self._answers.look()
                    version = seen
                    await self._reload()
                self.health.publish(self.metrics)
                if self.clock.monotonic() - clock_set > CLOCK_S:
                    await self._set_clock(database)
                    clock_set = self.clock.monotonic()
            except (StorageError, SettingsError) as error:
                log.error("endpoints_not_refreshed", code=error.code, reason=str(error))
            except Exception:
                log.exception("endpoints_not_refreshed")


def application(gateway: Gateway) -> Any:
    """Build the ASGI application of this gateway, with its pages; its lifespan starts and stops the gateway."""
    return build_app(gateway.port, SURFACES, pages())
