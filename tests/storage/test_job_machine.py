"""Random histories of two servers on one queue, checked against a model after every step."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import text
from support.postgres import migrated_database
from support.storage import HandClock, a_completion, a_job, an_entry, jobs_of, new_database_url, put_audio

from storage.cache_entries import CacheStore
from storage.db.database import Database
from storage.files.audio import AudioStore
from storage.files.sweeper import Sweeper
from storage.jobs.queue import JobStore
from storage.records import JobRecord, JobState, Lease

T = TypeVar("T")

HISTORIES = int(os.environ.get("VOXGATE_HISTORIES", "25"))
SHARED_HISTORIES = max(6, HISTORIES // 10)
"""On PostgreSQL, which takes some five times as long."""
MOST_DEATHS = 3
FLIGHTS = ("f1", "f2")
NODES = st.integers(0, 1)
QUEUED, RUNNING = JobState.IN_QUEUE, JobState.IN_PROGRESS


class Known(msgspec.Struct):
    """The state the model expects of a job."""

    state: JobState
    flight: str | None
    expires_at_ms: int | None
    ttl_ms: int | None
    owner: str | None = None
    attempt: int = 0
    failures: int = 0
    deaths: int = 0
    final: JobRecord | None = None


class Held(msgspec.Struct, frozen=True):
    """A lease as its owner remembers it, rightly or not."""

    job_id: str
    owner: str
    attempt: int


class Node:
    """One server: its own connections, an owner name for each of its lives, and what it believes it holds."""

    def __init__(self, name: str, url: str, clock: HandClock, audio: AudioStore, runner: asyncio.Runner) -> None:
        self.name, self.life = name, 0
        self.database = runner.run(Database.open(url))
        self.jobs = JobStore(self.database, clock)
        self.cache = CacheStore(self.database, clock)
        self.sweeper = Sweeper(self.database, audio, clock, grace_s=0)
        self.seen: list[Lease] = []

    @property
    def owner(self) -> str:
        return f"{self.name}-{self.life}"


class JobMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="voxgate-machine-"))
        self.runner = asyncio.Runner()
        self.clock = HandClock()
        url = self.new_database()
        self.audio = AudioStore(self.folder / "audio")
        self.nodes = [Node(name, url, self.clock, self.audio, self.runner) for name in "ab"]
        self.known: dict[str, Known] = {}
        self.held: list[Held] = []

    def teardown(self) -> None:
        for node in self.nodes:
            self.run(node.database.close())
        self.runner.close()
        self.stack.close()
        shutil.rmtree(self.folder)

    def new_database(self) -> str:
        return new_database_url(self.folder)

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(step)

    # -- steps: few rules with choices inside, since Hypothesis picks among rules evenly

    @initialize(flights=st.lists(st.sampled_from((None, *FLIGHTS)), min_size=2, max_size=5))
    def open_shop(self, flights: list[str | None]) -> None:
        for flight in flights:
            self.submit(0, flight, None, False)

    @precondition(lambda self: len(self.known) < 12)
    @rule(node=NODES, flight=st.sampled_from((None, *FLIGHTS)), ttl_s=st.sampled_from((None, 30)), low=st.booleans())
    def submit(self, node: int, flight: str | None, ttl_s: int | None, low: bool) -> None:
        now = self.clock.now_ms()
        job = a_job(
            f"job-{len(self.known):03}", flight_key=flight, low_priority=low, created_ms=now, available_ms=now,
            tenant="tu"[len(self.known) % 2], expires_at_ms=None if ttl_s is None else now + ttl_s * 1000,
        )  # fmt: skip
        self.run(self.nodes[node].jobs.insert(job))
        self.known[job.id] = Known(QUEUED, flight, job.expires_at_ms, None if ttl_s is None else ttl_s * 1000)

    @rule(node=NODES, most=st.integers(1, 12), blindly=st.booleans())
    def claim(self, node: int, most: int, blindly: bool) -> None:
        """Claim offered jobs, or (`blindly`) any jobs, as when two servers read the queue at the same moment."""
        server = self.nodes[node]
        wanted = list(self.known)
        if not blindly:
            offered = self.run(server.jobs.leases.candidates(["hibari"])).candidates
            assert not any(self.known[job.id].deaths for job in offered)
            offered += self.run(server.jobs.leases.suspects(["hibari"], limit=1))
            wanted = [candidate.id for candidate in offered]
            flights = [(self.known[job.id].flight, job.tenant) for job in offered if self.known[job.id].flight]
            assert len(flights) == len(set(flights))
        for job in self.run(server.jobs.leases.claim(wanted[:most], server.owner)):
            known = self.known[job.id]
            assert (known.state, known.attempt + 1) == (QUEUED, job.attempt)
            known.state, known.owner, known.attempt = RUNNING, server.owner, job.attempt
            self.held.append(Held(job.id, server.owner, job.attempt))

    @precondition(lambda self: self.held)
    @rule(step=st.sampled_from(("beat", "observe", "expire what was seen", "expire all")), node=NODES)
    def lease(self, step: str, node: int) -> None:
        server = self.nodes[node]
        if step == "beat":
            mine = {held.job_id: held.attempt for held in self.held if held.owner == server.owner}
            lost = self.run(server.jobs.leases.beat(server.owner, mine))
            assert lost == {i for i, attempt in mine.items() if not self.is_held(Held(i, server.owner, attempt))}
            return
        if step != "expire what was seen":
            server.seen = self.run(server.jobs.leases.observe_leases())
        if step != "observe":
            self.expire(server)

    def expire(self, server: Node) -> None:
        standing = {lease.job_id: lease for lease in self.run(server.jobs.leases.observe_leases())}
        for seen in server.seen:
            followers = self.followers(seen.job_id)
            state = self.run(server.jobs.leases.expire(seen, MOST_DEATHS, "silent"))
            assert (state is not None) == (standing.get(seen.job_id) == seen)
            if state is not None:
                known = self.known[seen.job_id]
                known.deaths += 1
                assert state is (JobState.FAILED if known.deaths >= MOST_DEATHS else QUEUED)
                for job_id in (seen.job_id, *(followers if state.final else ())):
                    self.left(job_id, state)
        server.seen = []

    @precondition(lambda self: self.held)
    @rule(
        how=st.sampled_from(("complete", "complete", "fail", "fail by input", "time out", "hand back", "try later")),
        whose=st.integers(0, 50),
        node=NODES,
        sound=st.integers(0, 2),
    )
    def end(self, how: str, whose: int, node: int, sound: int) -> None:
        """By any owner that ever held it: killed or paused ones, and leases long lost, too."""
        held = self.held[whose % len(self.held)]
        jobs, right = self.nodes[node].jobs, self.is_held(held)
        lease = (held.job_id, held.owner, held.attempt)
        followers = self.followers(held.job_id)
        if how in ("hand back", "try later"):
            counted = how == "try later"
            assert right == self.run(jobs.ends.requeue(*lease, how, counted, delay_ms=5000 * counted))
            if right:
                self.known[held.job_id].failures += counted
                self.left(held.job_id, QUEUED)
            return
        if how == "complete":
            state, ended, now = JobState.COMPLETED, followers, self.clock.now_ms()
            blob = self.run(put_audio(self.audio, f"sound {sound}".encode()))
            entry = an_entry(f"key-{held.job_id}", blob, now) if sound else None
            done = self.run(jobs.ends.complete(*lease, a_completion(blob, now, cache_entry=entry)))
            self.run(self.audio.settle(blob))
        else:
            state, ended = JobState.FAILED, followers if how == "fail by input" else set()
            if how == "time out":
                state = JobState.TIMED_OUT
            done = self.run(jobs.ends.fail(*lease, state, how, "failed", by_input=how == "fail by input"))
        assert (done.ok, set(done.followers)) == (right, ended if right else set())
        if right:
            for job_id in (held.job_id, *done.followers):
                self.left(job_id, state)

    @rule(cancel=st.booleans(), which=st.integers(0, 50), node=NODES)
    def meddle(self, cancel: bool, which: int, node: int) -> None:
        job_id = list(self.known)[which % len(self.known)]
        known, jobs = self.known[job_id], self.nodes[node].jobs
        if cancel:
            job = self.run(jobs.ends.cancel(job_id))
            if not known.state.final:
                self.left(job_id, JobState.CANCELLED)
            assert job is not None
            assert job.state is known.state
            return
        allowed = known.state in (JobState.FAILED, JobState.TIMED_OUT)
        assert (self.run(jobs.ends.retry(job_id)) is not None) == allowed
        if allowed:
            known.state, known.final, known.failures, known.deaths = QUEUED, None, 0, 0
            if known.ttl_ms is not None:
                known.expires_at_ms = self.clock.now_ms() + known.ttl_ms

    @rule(how=st.sampled_from(("kill", "ttl", "sweep", "a second", "a minute", "clock set back")), node=NODES)
    def time_passes(self, how: str, node: int) -> None:
        server = self.nodes[node]
        if how == "kill":
            # Its memory is gone and it comes back under another name. Its leases stay, and so may a paused twin.
            server.life += 1
            server.seen = []
        elif how == "ttl":
            self.expire_ttl(server)
        elif how == "sweep":
            self.run(server.cache.prune())
            self.clock.turn(0.001)
            self.run(server.sweeper.sweep())
        else:
            self.clock.turn({"a second": 1, "a minute": 60, "clock set back": -20}[how])

    def expire_ttl(self, server: Node) -> None:
        now = self.clock.now_ms()
        due = {
            job_id
            for job_id, known in self.known.items()
            if not known.state.final and known.expires_at_ms is not None and known.expires_at_ms <= now
        }
        assert set(self.run(server.jobs.ends.expire_ttl())) == due
        for job_id in due:
            self.left(job_id, JobState.TIMED_OUT)

    # -- what must hold after each

    @invariant()
    def no_accepted_job_is_lost_and_each_stands_where_it_should(self) -> None:
        rows = {job.id: job for tenant in "tu" for job in self.run(jobs_of(self.nodes[0].database, tenant))}
        assert rows.keys() == self.known.keys()
        for job_id, job in rows.items():
            known = self.known[job_id]
            assert (job.state, job.attempt, job.failures) == (known.state, known.attempt, known.failures)
            assert job.owner == (known.owner if job.state is RUNNING else None)
            if job.state.final:
                assert job.finished_ms is not None
                assert job.retain_until_ms is not None
                if known.final is None:
                    known.final = job
                assert job == known.final

    @invariant()
    def a_flight_has_one_leader(self) -> None:
        flights = [known.flight for known in self.known.values() if known.state is RUNNING and known.flight]
        assert len(flights) == len(set(flights))

    @invariant()
    def no_row_points_at_a_missing_file(self) -> None:
        assert self.run(self.nodes[0].sweeper.audit()) == []
        dangling = text("SELECT COUNT(*) FROM jobs WHERE state = 'COMPLETED' AND blob_hash IS NULL")
        assert self.run(self.nodes[0].database.read(lambda conn: conn.execute(dangling).scalar_one())) == 0

    def is_held(self, held: Held) -> bool:
        known = self.known[held.job_id]
        return (known.state, known.owner, known.attempt) == (RUNNING, held.owner, held.attempt)

    def followers(self, job_id: str) -> set[str]:
        flight = self.known[job_id].flight
        if flight is None:
            return set()
        return {i for i, known in self.known.items() if known.flight == flight and known.state is QUEUED}

    def left(self, job_id: str, state: JobState) -> None:
        self.known[job_id].state = state
        self.known[job_id].owner = None


class SharedJobMachine(JobMachine):
    def new_database(self) -> str:
        return self.stack.enter_context(migrated_database())


@pytest.mark.soak
@pytest.mark.parametrize(("machine", "histories"), [(JobMachine, HISTORIES), (SharedJobMachine, SHARED_HISTORIES)])
def test_no_history_of_two_servers_loses_a_job_ends_one_twice_or_gives_it_two_owners(
    machine: type[JobMachine], histories: int
) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=histories,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
