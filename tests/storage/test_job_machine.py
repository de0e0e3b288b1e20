"""Random histories of two servers on one queue, checked against a model after every step."""

from __future__ import annotations

import asyncio
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
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import text
from support.storage import HandClock, a_completion, a_job, an_entry, new_database_url, put_audio

from storage.audio import AudioStore
from storage.cache_entries import CacheStore
from storage.database import Database
from storage.jobs import JobStore
from storage.records import JobRecord, JobState, Lease
from storage.sweeper import Sweeper

T = TypeVar("T")

HISTORIES = int(os.environ.get("VOXGATE_HISTORIES", "25"))
MAX_FAILURES = 3
FLIGHTS = ("f1", "f2")
QUEUED, RUNNING = JobState.IN_QUEUE, JobState.IN_PROGRESS


class Known(msgspec.Struct):
    """What the model expects of a job."""

    state: JobState
    flight: str | None
    expires_at_ms: int | None
    owner: str | None = None
    attempt: int = 0
    failures: int = 0
    final: JobRecord | None = None


class Held(msgspec.Struct, frozen=True):
    """A lease as its owner remembers it, rightly or not."""

    job_id: str
    owner: str
    attempt: int


class Node:
    """One server: its own connections, an owner name for each of its lives, and what it believes it holds."""

    def __init__(self, name: str, url: str, clock: HandClock, runner: asyncio.Runner) -> None:
        self.name, self.life = name, 0
        self.database = runner.run(Database.open(url))
        self.jobs = JobStore(self.database, clock)
        self.cache = CacheStore(self.database, clock)
        self.seen: list[Lease] = []

    @property
    def owner(self) -> str:
        return f"{self.name}-{self.life}"


class JobMachine(RuleBasedStateMachine):
    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="voxgate-machine-"))
        self.runner = asyncio.Runner()
        self.clock = HandClock()
        url = new_database_url(self.folder)
        self.nodes = [Node(name, url, self.clock, self.runner) for name in "ab"]
        self.audio = AudioStore(self.folder / "audio")
        self.sweeper = Sweeper(self.nodes[1].database, self.audio, self.clock, grace_s=0)
        self.known: dict[str, Known] = {}
        self.held: list[Held] = []

    def teardown(self) -> None:
        for node in self.nodes:
            self.run(node.database.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def run(self, step: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(step)

    # -- steps

    @rule(
        target=ids,
        node=st.integers(0, 1),
        flight=st.sampled_from((None, *FLIGHTS)),
        ttl_s=st.sampled_from((None, 30)),
        low=st.booleans(),
    )
    def submit(self, node: int, flight: str | None, ttl_s: int | None, low: bool) -> str:
        now = self.clock.now_ms()
        job = a_job(
            f"job-{len(self.known):03}", flight_key=flight, low_priority=low, created_ms=now, available_ms=now,
            tenant="tu"[len(self.known) % 2], expires_at_ms=None if ttl_s is None else now + ttl_s * 1000,
        )  # fmt: skip
        self.run(self.nodes[node].jobs.insert(job))
        self.known[job.id] = Known(QUEUED, flight, job.expires_at_ms)
        return job.id

    @rule(node=st.integers(0, 1), most=st.integers(1, 3))
    def claim(self, node: int, most: int) -> None:
        server = self.nodes[node]
        found = self.run(server.jobs.candidates(["hibari"]))
        flights = [self.known[c.id].flight for c in found if self.known[c.id].flight]
        assert len(flights) == len(set(flights))
        for job in self.run(server.jobs.claim([c.id for c in found][:most], server.owner)):
            known = self.known[job.id]
            assert (known.state, known.attempt + 1) == (QUEUED, job.attempt)
            known.state, known.owner, known.attempt = RUNNING, server.owner, job.attempt
            self.held.append(Held(job.id, server.owner, job.attempt))

    @rule(node=st.integers(0, 1))
    def claim_blindly(self, node: int) -> None:
        """Two servers that looked at the same moment ask for the same jobs."""
        server = self.nodes[node]
        for job in self.run(server.jobs.claim(list(self.known), server.owner)):
            known = self.known[job.id]
            assert known.state is QUEUED
            known.state, known.owner, known.attempt = RUNNING, server.owner, job.attempt
            self.held.append(Held(job.id, server.owner, job.attempt))

    @rule(node=st.integers(0, 1))
    def beat(self, node: int) -> None:
        server = self.nodes[node]
        mine = {held.job_id: held.attempt for held in self.held if held.owner == server.owner}
        lost = self.run(server.jobs.beat(server.owner, mine))
        assert lost == {i for i, attempt in mine.items() if not self.is_held(Held(i, server.owner, attempt))}
        self.held = [held for held in self.held if held.owner != server.owner or held.job_id not in lost]

    @rule(node=st.integers(0, 1))
    def observe(self, node: int) -> None:
        self.nodes[node].seen = self.run(self.nodes[node].jobs.observe_leases())

    @rule(node=st.integers(0, 1), at_once=st.booleans())
    def expire(self, node: int, at_once: bool) -> None:
        """What was seen earlier and may have moved since, or all that runs now."""
        server = self.nodes[node]
        if at_once:
            self.observe(node)
        now_leases = {lease.job_id: lease for lease in self.run(server.jobs.observe_leases())}
        for seen in server.seen:
            state = self.run(
                server.jobs.expire(seen.job_id, seen.owner, seen.beat, seen.attempt, MAX_FAILURES, "silent")
            )
            assert (state is not None) == (now_leases.get(seen.job_id) == seen)
            if state is not None:
                known = self.known[seen.job_id]
                known.failures += 1
                assert state is (JobState.FAILED if known.failures >= MAX_FAILURES else QUEUED)
                self.left(seen.job_id, state)
        server.seen = []

    @precondition(lambda self: self.held)
    @rule(data=st.data(), stored=st.booleans(), sound=st.integers(0, 2))
    def complete(self, data: st.DataObject, stored: bool, sound: int) -> None:
        """Also by owners that were killed or paused, and by leases long lost."""
        held = data.draw(st.sampled_from(self.held))
        jobs, right = self.nodes[0].jobs, self.is_held(held)
        blob = self.run(put_audio(self.audio, f"sound {sound}".encode()))
        entry = an_entry(f"key-{held.job_id}", blob, self.clock.now_ms()) if stored else None
        done = self.run(
            jobs.complete(
                held.job_id, held.owner, held.attempt, a_completion(blob, self.clock.now_ms(), cache_entry=entry)
            )
        )
        self.run(self.audio.settle(blob))
        assert done.ok == right
        self.held.remove(held)
        if right:
            assert set(done.followers) == self.followers(held.job_id)
            for job_id in (held.job_id, *done.followers):
                self.left(job_id, JobState.COMPLETED)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), by_input=st.booleans(), timed_out=st.booleans())
    def fail(self, data: st.DataObject, by_input: bool, timed_out: bool) -> None:
        held = data.draw(st.sampled_from(self.held))
        right = self.is_held(held)
        state = JobState.TIMED_OUT if timed_out else JobState.FAILED
        done = self.run(self.nodes[1].jobs.fail(held.job_id, held.owner, held.attempt, state, "no", "failed", by_input))
        assert done.ok == right
        self.held.remove(held)
        if right:
            assert set(done.followers) == (self.followers(held.job_id) if by_input else set())
            self.left(held.job_id, state)
            for job_id in done.followers:
                self.left(job_id, JobState.FAILED)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), counted=st.booleans(), delay_ms=st.sampled_from((0, 5000)))
    def requeue(self, data: st.DataObject, counted: bool, delay_ms: int) -> None:
        held = data.draw(st.sampled_from(self.held))
        right = self.is_held(held)
        assert right == self.run(
            self.nodes[0].jobs.requeue(held.job_id, held.owner, held.attempt, "later", counted, delay_ms)
        )
        self.held.remove(held)
        if right:
            self.known[held.job_id].failures += counted
            self.left(held.job_id, QUEUED)

    @rule(job_id=ids)
    def cancel(self, job_id: str) -> None:
        job = self.run(self.nodes[0].jobs.cancel(job_id))
        assert job is not None
        if not self.known[job_id].state.final:
            self.left(job_id, JobState.CANCELLED)
        assert job.state is self.known[job_id].state

    @rule(job_id=ids)
    def retry(self, job_id: str) -> None:
        known = self.known[job_id]
        expires = self.clock.now_ms() + 60_000
        allowed = known.state in (JobState.FAILED, JobState.TIMED_OUT)
        job = self.run(self.nodes[1].jobs.retry(job_id, expires))
        assert (job is not None) == allowed
        if allowed:
            known.state, known.final, known.failures, known.expires_at_ms = QUEUED, None, 0, expires

    @rule()
    def expire_ttl(self) -> None:
        now = self.clock.now_ms()
        due = {
            job_id
            for job_id, known in self.known.items()
            if not known.state.final and known.expires_at_ms is not None and known.expires_at_ms <= now
        }
        assert set(self.run(self.nodes[0].jobs.expire_ttl())) == due
        for job_id in due:
            self.left(job_id, JobState.TIMED_OUT)

    @rule(node=st.integers(0, 1))
    def kill(self, node: int) -> None:
        """Its memory is gone and it comes back under another name; its leases stay behind, and so may a paused twin."""
        server = self.nodes[node]
        self.run(server.database.close())
        server.database = self.run(Database.open(f"sqlite:///{self.folder / 'voxgate.db'}"))
        server.jobs = JobStore(server.database, self.clock)
        server.cache = CacheStore(server.database, self.clock)
        if node == 1:
            self.sweeper = Sweeper(server.database, self.audio, self.clock, grace_s=0)
        server.life += 1
        server.seen = []

    @rule(seconds=st.sampled_from((1, 40, -20, 3600)))
    def turn_the_clock(self, seconds: int) -> None:
        self.clock.turn(seconds)

    @rule(node=st.integers(0, 1))
    def sweep(self, node: int) -> None:
        self.run(self.nodes[node].cache.prune())
        self.clock.turn(0.001)
        self.run(self.sweeper.sweep())

    # -- what must hold after each

    @invariant()
    def no_accepted_job_is_lost_and_each_stands_where_it_should(self) -> None:
        rows = {job.id: job for tenant in "tu" for job in self.run(self.nodes[0].jobs.list_jobs(tenant))}
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
        assert self.run(self.sweeper.audit()) == []
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


@pytest.mark.soak
def test_no_history_of_two_servers_loses_a_job_ends_one_twice_or_gives_it_two_owners() -> None:
    run_state_machine_as_test(
        JobMachine,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
