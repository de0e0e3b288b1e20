# ruff: noqa: S608 - the pieces put together here are constants of this module, never a caller's words
"""Every statement about jobs, each with a line that says what it is for.

They are text because text is the portable subset of SQLite and PostgreSQL that we rely on, can be read as it will
run, and is compiled once. Partial indexes are used only where a condition repeats their predicate literally.
"""

from __future__ import annotations

from sqlalchemy import bindparam, text

from storage.db.models import JobRow

PAUSE_AT_MOST_MS = 60_000
"""The longest pause before a job is tried again; one that seems longer only says that the clock was set back."""

COLUMNS = tuple(JobRow.__table__.columns.keys())
_ALL = ", ".join(COLUMNS)
_LEFT_OUT = {"request": "''", "lane": "1", "deaths": "0"}
"""Columns that stand behind a job's long texts: a status does not wait for SQLite to walk there."""
_SHORT = ", ".join(f"{_LEFT_OUT[name]} AS {name}" if name in _LEFT_OUT else name for name in COLUMNS)
_ENDED = "RETURNING id, tenant, endpoint_id, key_id, chars, attempt, webhook"
_RETAIN = "retain_until_ms = CASE kind WHEN 'runsync' THEN :keep_runsync ELSE :keep_run END"
_MINE = "WHERE id = :id AND owner = :owner AND attempt = :attempt AND state = 'IN_PROGRESS'"
_UNHEARD = "stream_cursor = 0 AND stream_sending IS NULL"
_AVAILABLE = f"(available_ms <= :now OR available_ms > :now + {PAUSE_AT_MOST_MS})"
_UNSUSPECTED = "q.id NOT IN (SELECT s.id FROM jobs s WHERE s.state = 'IN_QUEUE' AND s.deaths > 0)"
"""Asked of the suspects' own index, which is empty nearly always; the column itself stands behind the long texts."""
_WAITED = "CASE WHEN :now > created_ms THEN :now - created_ms ELSE 0 END"
_NOT_RUNNING = "CASE WHEN :now > created_ms + execution_ms THEN :now - created_ms - execution_ms ELSE 0 END"

_VALUES = f"INSERT INTO jobs ({_ALL}) VALUES ({', '.join(':' + name for name in COLUMNS)})"
INSERT = text(_VALUES)
"""Accept a job."""
INSERT_SQLITE = f"INSERT INTO jobs ({_ALL}) VALUES ({', '.join('?' for _ in COLUMNS)})"
"""The same for the driver itself: SQLAlchemy's own part of a row is twice SQLite's, and there is one for every hit."""
EXISTS = text("SELECT 1 FROM jobs WHERE id = :id")
"""Whether a job is there."""

FIND_KEY = text(
    "SELECT body_hash, job_id FROM idempotency_keys "
    "WHERE tenant = :tenant AND endpoint_id = :endpoint_id AND key = :key"
)
"""Which job an idempotency key made."""
INSERT_KEY = text(
    "INSERT INTO idempotency_keys (tenant, endpoint_id, key, body_hash, job_id, created_ms) "
    "VALUES (:tenant, :endpoint_id, :key, :body_hash, :job_id, :now)"
)
"""Remember which job an idempotency key made."""

GET = text(f"SELECT {_ALL} FROM jobs WHERE id = :id")
"""A job with its request."""
PEEK = text(f"SELECT {_SHORT} FROM jobs WHERE id = :id")
"""A job for its status; the text stays where it is."""
LED = text(
    "SELECT 1 FROM jobs j JOIN jobs o ON o.flight_key = j.flight_key AND o.state = 'IN_QUEUE' "
    "WHERE j.id = :id AND j.state = 'IN_PROGRESS' LIMIT 1"
)
"""Whether others wait for what a job is speaking."""

_IN_LINE = "state = 'IN_QUEUE' AND backend = {line}.backend AND tenant = {line}.tenant AND lane = {line}.lane"
_NONE = "(SELECT 1 FROM jobs r WHERE r.flight_key = q.flight_key AND {which} LIMIT 1) IS NULL"
_CLAIMABLE = (
    f"{_AVAILABLE} AND {_UNSUSPECTED} AND (expires_at_ms IS NULL OR expires_at_ms > :now) AND (flight_key IS NULL OR ("
    + _NONE.format(which="r.state = 'IN_PROGRESS'")
    + " AND "
    + _NONE.format(
        which="r.state = 'IN_QUEUE' AND r.low_priority = q.low_priority AND r.tenant = q.tenant "
        "AND (r.created_ms, r.id) < (q.created_ms, q.id)"
    )
    + " AND (NOT q.low_priority OR "
    + _NONE.format(which="r.state = 'IN_QUEUE' AND r.low_priority = FALSE AND r.tenant = q.tenant")
    + ")))"
)
"""Of a flight each tenant's first may be claimed, and only while none of it runs: whoever's turn comes first leads.
A tenant's own normal jobs come before its low ones, so that a lead is never taken by the one that can wait. (Scalar
subqueries with a limit: of EXISTS PostgreSQL may make a hash of the whole queue. Orders below are there for it, too:
without them it may read the whole table for one row, where it expects to find one soon.)"""
_LINES = (
    "WITH RECURSIVE t (backend, tenant) AS ("
    "SELECT b.backend, (SELECT MIN(j.tenant) FROM jobs j WHERE j.state = 'IN_QUEUE' AND j.backend = b.backend) "
    "FROM {backends} UNION ALL "
    "SELECT t.backend, (SELECT MIN(j.tenant) FROM jobs j WHERE j.state = 'IN_QUEUE' AND j.backend = t.backend "
    "AND j.tenant > t.tenant) FROM t WHERE t.tenant IS NOT NULL), "
    "w AS MATERIALIZED (SELECT t.backend, t.tenant, n.lane FROM t "
    "CROSS JOIN (SELECT 0 AS lane UNION ALL SELECT 1 UNION ALL SELECT 2) n WHERE t.tenant IS NOT NULL "
    "AND (SELECT 1 FROM jobs j WHERE j.state = 'IN_QUEUE' AND j.backend = t.backend AND j.tenant = t.tenant "
    "AND j.lane = n.lane ORDER BY j.created_ms, j.id LIMIT 1) IS NOT NULL), "
    "l AS MATERIALIZED (SELECT w.backend, w.tenant, w.lane, (SELECT j.created_ms || ' ' || j.id FROM jobs j "
    f"WHERE j.{_IN_LINE.format(line='w')} ORDER BY j.created_ms, j.id LIMIT 1 OFFSET :scan - 1) AS edge FROM w) "
)
_FIRST = (
    "(SELECT id, chars, tenant, low_priority, flight_key, created_ms, available_ms, expires_at_ms FROM jobs "
    f"WHERE {_IN_LINE.format(line='l')} ORDER BY created_ms, id LIMIT :scan) q WHERE {_CLAIMABLE} LIMIT :per_line"
)
_HEAD = "SELECT l.backend, l.tenant, l.lane, l.edge, h.id, h.chars, h.created_ms FROM l LEFT JOIN"
HEADS = text(
    _LINES.format(backends="(SELECT value AS backend FROM json_each(:backends)) b")
    + f"{_HEAD} jobs h ON h.id IN (SELECT q.id FROM {_FIRST})"
)
"""The head of every line: who may be claimed, of the first `scan` jobs of each line, and the last of these if there are
so many. Jumps from line to line in the queue's index, so that a flood in one costs the others nothing."""
HEADS_SHARED = text(
    _LINES.format(backends="unnest(CAST(:backends AS text[])) AS b (backend)")
    + f"{_HEAD} LATERAL (SELECT q.id, q.chars, q.created_ms FROM {_FIRST}) h ON TRUE"
)
"""PostgreSQL: the same."""
BEHIND = text(
    f"SELECT q.id, q.chars, q.created_ms, CASE WHEN {_CLAIMABLE} THEN 1 ELSE 0 END FROM jobs q "
    "WHERE q.state = 'IN_QUEUE' AND q.backend = :backend AND q.tenant = :tenant AND q.lane = :lane "
    "AND (q.created_ms, q.id) > (:after_ms, :after_id) ORDER BY q.created_ms, q.id LIMIT :scan"
)
"""The next jobs of one line behind a place, and whether each may be claimed."""
WANTED = text(
    "SELECT EXISTS (SELECT 1 FROM (SELECT id FROM jobs WHERE state = 'IN_QUEUE' AND backend = :backend "
    f"ORDER BY tenant, lane, created_ms, id LIMIT :scan) f JOIN jobs q ON q.id = f.id WHERE {_CLAIMABLE}) OR EXISTS "
    "(SELECT 1 FROM jobs WHERE state = 'IN_QUEUE' AND backend = :backend "
    "ORDER BY tenant, lane, created_ms, id LIMIT 1 OFFSET :scan)"
)
"""Whether anybody waits for a backend: one of the first may be claimed, or there are more than are looked at."""
LIFTED = text(
    "SELECT DISTINCT flight_key FROM jobs WHERE state = 'IN_QUEUE' AND flight_key IN :flights AND low_priority = FALSE"
).bindparams(bindparam("flights", expanding=True))
"""Which of these flights somebody waits for who is not of low priority."""

CLAIM = text(
    "UPDATE jobs SET state = 'IN_PROGRESS', owner = :owner, attempt = attempt + 1, beat = 0, "
    "started_ms = COALESCE(started_ms, :now), error = NULL, error_code = NULL "
    f"WHERE id = :id AND state = 'IN_QUEUE' AND {_AVAILABLE} "
    "AND (expires_at_ms IS NULL OR expires_at_ms > :now) AND (flight_key IS NULL OR NOT EXISTS ("
    "SELECT 1 FROM jobs r WHERE r.state = 'IN_PROGRESS' AND r.flight_key = jobs.flight_key)) "
    f"RETURNING {_ALL}"
)
"""Take a lease. The condition and the unique index on running flights both forbid a second leader."""
CLAIM_NEW = text(
    "UPDATE jobs SET state = 'IN_PROGRESS', owner = :owner, attempt = 1, started_ms = :now "
    "WHERE id = :id AND (flight_key IS NULL OR NOT EXISTS ("
    "SELECT 1 FROM jobs r WHERE r.state = 'IN_PROGRESS' AND r.flight_key = jobs.flight_key)) "
    "RETURNING EXISTS (SELECT 1 FROM cache_entries c WHERE c.key = jobs.flight_key)"
)
"""Take a lease on a job in the transaction that inserts it, and tell whether its audio was finished by then. Both looks
are one moment's: whoever led its flight runs still, and it follows, or has left its audio, and nobody speaks again."""
CLAIM_SHARED = text(
    "UPDATE jobs SET state = 'IN_PROGRESS', owner = :owner, attempt = attempt + 1, beat = 0, "
    "started_ms = COALESCE(started_ms, :now), error = NULL, error_code = NULL "
    "WHERE id IN (SELECT q.id FROM jobs q WHERE q.id = ANY(CAST(:ids AS text[])) AND q.state = 'IN_QUEUE' "
    f"AND {_AVAILABLE} AND (q.expires_at_ms IS NULL OR q.expires_at_ms > :now) "
    "AND (q.flight_key IS NULL OR NOT EXISTS (SELECT 1 FROM jobs r WHERE r.flight_key = q.flight_key "
    "AND (r.state = 'IN_PROGRESS' OR r.state = 'IN_QUEUE' AND r.id = ANY(CAST(:ids AS text[])) "
    "AND array_position(CAST(:ids AS text[]), r.id) < array_position(CAST(:ids AS text[]), q.id)))) "
    f"FOR NO KEY UPDATE SKIP LOCKED) RETURNING {_ALL}"
)
"""PostgreSQL: take leases, passing over jobs that another server is just taking; of a flight the first asked for."""

_PROGRESS = (
    "chunks_total = COALESCE(CAST(:total AS integer), chunks_total), chunks_done = CASE "
    "WHEN CAST(:total AS integer) < CAST(:done AS integer) OR CAST(:total AS integer) < chunks_done "
    "THEN CAST(:total AS integer) WHEN chunks_done < CAST(:done AS integer) THEN CAST(:done AS integer) "
    "ELSE chunks_done END"
)
"""How far a job is. What was told goes back for nobody: what is written later may have been counted earlier."""
BEAT = text(
    f"UPDATE jobs SET beat = beat + 1, {_PROGRESS}, execution_ms = COALESCE(:execution_ms, execution_ms) {_MINE}"
)
"""Say that the owner is alive, how far it is, and how long it has worked: others may end the job, and must know."""
HAND_OVER = text(f"UPDATE jobs SET backend = :backend, chunks_done = 0 {_MINE} AND {_UNHEARD} RETURNING id")
"""Another backend begins it anew, unless somebody was given some of it: half in another voice is no speech."""
HELD = text("SELECT id, attempt FROM jobs WHERE owner = :owner AND state = 'IN_PROGRESS'")
"""What an owner still holds."""
LEASES = text("SELECT id, owner, beat, attempt, request_id FROM jobs WHERE state = 'IN_PROGRESS'")
"""Every lease, for the observer."""

_LAST_DEATH = "deaths + 1 >= :most_deaths"
EXPIRE = text(
    f"UPDATE jobs SET state = CASE WHEN {_LAST_DEATH} THEN 'FAILED' ELSE 'IN_QUEUE' END, deaths = deaths + 1, "
    f"retries = CASE WHEN {_LAST_DEATH} THEN retries ELSE retries + 1 END, "
    "available_ms = :now + (1000 << CAST(deaths AS integer)), "
    f"finished_ms = CASE WHEN {_LAST_DEATH} THEN :now END, retain_until_ms = CASE WHEN {_LAST_DEATH} THEN "
    "CASE kind WHEN 'runsync' THEN :keep_runsync ELSE :keep_run END END, "
    f"delay_ms = {_NOT_RUNNING}, worker_id = CASE WHEN {_LAST_DEATH} THEN owner ELSE worker_id END, "
    f"error = CASE WHEN {_LAST_DEATH} THEN :last ELSE :error END, error_code = :code, owner = NULL, beat = 0 "
    "WHERE id = :id AND owner = :owner AND beat = :beat AND attempt = :attempt AND state = 'IN_PROGRESS' "
    f"{_ENDED}, flight_key, state"
)
"""Take a dead owner's lease away: the job waits 1, 2, 4, 8 s, twice as long after each death; too many end it."""
SUSPECTS = text(
    "SELECT q.id, q.tenant, q.chars, q.lane, q.created_ms, q.backend "
    "FROM (SELECT id, deaths FROM jobs WHERE state = 'IN_QUEUE' AND deaths > 0) AS s CROSS JOIN jobs q "
    f"WHERE q.id = s.id AND q.backend IN :backends AND {_AVAILABLE} "
    "AND (q.expires_at_ms IS NULL OR q.expires_at_ms > :now) AND (q.flight_key IS NULL OR NOT EXISTS ("
    "SELECT 1 FROM jobs r WHERE r.state = 'IN_PROGRESS' AND r.flight_key = q.flight_key)) "
    "ORDER BY s.deaths, q.low_priority, q.created_ms, q.id LIMIT :limit"
).bindparams(bindparam("backends", expanding=True))
"""Who could be claimed now of those with whom a server died; who saw fewest die comes first."""
REQUEUE = text(
    "UPDATE jobs SET state = 'IN_QUEUE', owner = NULL, beat = 0, failures = failures + :counted, "
    f"retries = retries + :counted, available_ms = :available_ms, error = :error, "
    f"execution_ms = COALESCE(:execution_ms, execution_ms) {_MINE} RETURNING id, attempt, endpoint_id"
)
"""Hand a lease back, or try again later."""
STORED_TAKES = text(f"UPDATE jobs SET failures = 0, deaths = 0, {_PROGRESS} {_MINE}")
"""Takes were stored: the attempt got somewhere, so failures and deaths start anew."""

COMPLETE = text(
    "UPDATE jobs SET state = 'COMPLETED', output = :output, blob_hash = :blob_hash, "
    "cache_key = COALESCE(:cache_key, cache_key), backend = :backend, worker_id = :worker_id, delay_ms = :delay_ms, "
    "execution_ms = :execution_ms, finished_ms = :now, chunks_done = chunks_total, owner = NULL, "
    "error = NULL, error_code = NULL, retain_until_ms = COALESCE(:retain_until_ms, "
    f"CASE kind WHEN 'runsync' THEN :keep_runsync ELSE :keep_run END) {_MINE} {_ENDED}, flight_key"
)
"""End a job well, if the lease still holds."""
COMPLETE_FOLLOWERS = text(
    "UPDATE jobs SET state = 'COMPLETED', output = :output, blob_hash = :blob_hash, "
    "cache_key = COALESCE(:cache_key, cache_key), backend = :backend, worker_id = :worker_id, "
    f"delay_ms = {_WAITED}, execution_ms = 0, finished_ms = :now, error = NULL, error_code = NULL, {_RETAIN} "
    f"WHERE flight_key = :flight_key AND state = 'IN_QUEUE' AND (backend = :backend OR ({_UNHEARD})) {_ENDED}"
)
"""End everybody who waited for the same utterance, but those who have heard some of it from a backend that gave up."""
FAIL = text(
    "UPDATE jobs SET state = :state, error = :error, error_code = :code, worker_id = COALESCE(:worker_id, worker_id), "
    f"delay_ms = :delay_ms, execution_ms = :execution_ms, finished_ms = :now, owner = NULL, {_RETAIN} "
    f"{_MINE} {_ENDED}, flight_key"
)
"""End a job badly, if the lease still holds."""
FAIL_FOLLOWERS = text(
    f"UPDATE jobs SET state = 'FAILED', error = :error, error_code = :code, delay_ms = {_WAITED}, finished_ms = :now, "
    f"{_RETAIN} WHERE flight_key = :flight_key AND state = 'IN_QUEUE' {_ENDED}"
)
"""The same input fails the same way for everybody who waits for it."""

_WHEREVER = (
    f"worker_id = COALESCE(owner, worker_id), owner = NULL, finished_ms = :now, delay_ms = {_NOT_RUNNING}, {_RETAIN}"
)
"""The end of a job where it stands, in the queue or with whoever runs it; `execution_ms` is what that one told last."""
_CANCELLED = f"state = 'CANCELLED', cancel_requested = TRUE, {_WHEREVER}"
CANCEL = text(f"UPDATE jobs SET {_CANCELLED} WHERE id = :id AND state IN ('IN_QUEUE', 'IN_PROGRESS') {_ENDED}")
"""End a job by its caller's wish, running or not; the fence voids what its runner still brings."""
PURGE = text(
    f"UPDATE jobs SET {_CANCELLED} WHERE id IN (SELECT id FROM jobs WHERE state = 'IN_QUEUE' "
    "AND endpoint_id = :endpoint_id AND tenant = :tenant LIMIT :limit) "
    f"AND state = 'IN_QUEUE' {_ENDED}"
)
"""Cancel some of what waits at an endpoint."""
RETRY = text(
    "UPDATE jobs SET state = 'IN_QUEUE', output = NULL, blob_hash = NULL, error = NULL, error_code = NULL, "
    "failures = 0, deaths = 0, retries = retries + 1, available_ms = 0, started_ms = NULL, "
    "expires_at_ms = :now + expires_at_ms - COALESCE((SELECT MAX(e.at_ms) FROM job_events e WHERE e.job_id = jobs.id "
    "AND e.event = 'retried'), created_ms), "
    "finished_ms = NULL, retain_until_ms = NULL, delay_ms = 0, execution_ms = 0, chunks_done = 0, "
    "stream_cursor = 0, stream_sending = NULL, worker_id = NULL WHERE id = :id AND state IN ('FAILED', 'TIMED_OUT') "
    f"AND (retain_until_ms IS NULL OR retain_until_ms > :now) RETURNING {_ALL}"
)
"""Queue a failed job again; what it had brought is dropped. Its ttl, from its submission or its last retry on, begins
anew."""

_LATE_WAITING = "SELECT id FROM jobs WHERE state = 'IN_QUEUE' AND expires_at_ms <= :now"
_LATE_RUNNING = "SELECT id FROM jobs WHERE state = 'IN_PROGRESS' AND owner >= '' AND expires_at_ms <= :now"
ANY_LATE = text(f"SELECT EXISTS ({_LATE_WAITING}) OR EXISTS ({_LATE_RUNNING})")
"""Whether anything has outlived its ttl. Every owner is `>= ''`: the index of running jobs is taken for it."""
_TTL = f"UPDATE jobs SET state = 'TIMED_OUT', error = :error, error_code = 'ttl_expired', {_WHEREVER} WHERE id IN"
TTL_QUEUED = text(f"{_TTL} ({_LATE_WAITING} ORDER BY expires_at_ms LIMIT :limit) AND state = 'IN_QUEUE' {_ENDED}")
"""End some of what waited past its ttl."""
TTL_RUNNING = text(f"{_TTL} ({_LATE_RUNNING} LIMIT :limit) AND state = 'IN_PROGRESS' {_ENDED}")
"""End some of what runs past its ttl."""

ANY_WAITING = text("SELECT EXISTS (SELECT 1 FROM jobs WHERE state = 'IN_QUEUE' AND backend >= '')")
"""Whether anybody waits."""
SHORTEN = text("UPDATE jobs SET retain_until_ms = :until WHERE id = :id AND retain_until_ms > :until")
"""Keep a finished job for less long; never for longer."""
RETAINED = text(
    "SELECT id, chars FROM jobs WHERE retain_until_ms IS NOT NULL AND retain_until_ms <= :now "
    "ORDER BY retain_until_ms LIMIT :limit"
)
"""Finished jobs whose time is over."""
DELETE_RETAINED = text(
    "DELETE FROM jobs WHERE id IN :ids AND retain_until_ms IS NOT NULL AND retain_until_ms <= :now"
).bindparams(bindparam("ids", expanding=True))
"""Forget those, text and all; events, webhooks and idempotency keys go with them."""
DELETE = text("DELETE FROM jobs WHERE id = :id AND state IN ('COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT')")
"""Forget one finished job."""

WAITING = text("SELECT COALESCE(SUM(n), 0) FROM job_counts WHERE state = 'IN_QUEUE'")
"""How many jobs wait, everywhere: a row for each endpoint that has waiting jobs, or had some a minute ago."""
_IN_LINE = "state = 'IN_QUEUE' AND backend = :backend AND tenant = :tenant"
AHEAD = text(
    f"SELECT COUNT(*) FROM (SELECT 1 FROM jobs WHERE {_IN_LINE} AND lane = (SELECT MIN(lane) FROM jobs "
    f"WHERE {_IN_LINE} AND lane IN (0, 1, 2) AND created_ms = :created_ms AND id >= :id AND id <= :id) "
    "AND (created_ms, id) <= (:created_ms, :id) LIMIT :limit) AS ahead"
)
"""A job's place among those of its tenant in the same lane, itself included; 0 when it does not wait.

All of it is in the queue's index, the lane too: SQLite would walk through a job's text to reach the row's own.
"""
LIST = {
    (endpoint, state): text(
        f"SELECT {_SHORT} FROM jobs WHERE tenant = :tenant AND id < :before"
        + (" AND endpoint_id = :endpoint_id" if endpoint else "")
        + (" AND state = :state" if state else "")
        + " ORDER BY id DESC LIMIT :limit"
    )
    for endpoint in (False, True)
    for state in (False, True)
}
"""A tenant's jobs, newest first, of one endpoint or state if asked."""
EVENTS = text("SELECT job_id, at_ms, event, attempt, owner, detail FROM job_events WHERE job_id = :id ORDER BY id")
"""The audit trail of a job."""

BEGIN_SENDING = text(
    "UPDATE jobs SET stream_sending = :token WHERE id = :id AND retries = :retries AND backend = :backend "
    "AND stream_cursor = :cursor AND COALESCE(stream_sending, '') = :before"
)
"""Give out stream items once: of several polls that saw the same items, at whatever servers, one sends them."""
END_SENDING = text(
    "UPDATE jobs SET stream_cursor = :to, stream_sending = NULL WHERE id = :id AND stream_sending = :token"
)
"""The answer has left, or is given up and the cursor stays."""
