# ruff: noqa: S608 - the parts joined here are constants of this module, never a caller's text
"""All SQL statements about jobs, each with its purpose.

They are text: a subset that runs on SQLite and PostgreSQL, can be read as it runs, and is compiled once. A partial
index is used only if a condition repeats its predicate literally.
"""

from __future__ import annotations

from sqlalchemy import bindparam, text

from storage.db.lists import with_list
from storage.records import JobRecord

PAUSE_AT_MOST_MS = 60_000
"""The longest pause before a job is tried again; a longer one means that the clock was set back, and is ignored."""

COLUMNS = JobRecord.__struct_fields__
"""The columns that are used, in the order of the table."""
_ALL = ", ".join(COLUMNS)
_LEFT_OUT = {"request": "''", "lane": "1", "deaths": "0", "arms": "''", "unit": "''", "purpose": "'caller'"}
"""Columns after a job's long texts, with constants instead: SQLite would walk through the texts to reach them."""
_SHORT = ", ".join(f"{_LEFT_OUT[name]} AS {name}" if name in _LEFT_OUT else name for name in COLUMNS)
_ENDED = "RETURNING id, tenant, endpoint_id, key_id, chars, attempt, webhook"
_KEPT = "CASE kind WHEN 'runsync' THEN :keep_runsync ELSE :keep_run END"
_RETAIN = f"retain_until_ms = {_KEPT}"
_MINE = "WHERE id = :id AND owner = :owner AND attempt = :attempt AND state = 'IN_PROGRESS'"
_UNHEARD = "stream_cursor = 0 AND stream_sending IS NULL"
_AVAILABLE = f"(available_ms <= :now OR available_ms > :now + {PAUSE_AT_MOST_MS})"
_UNSUSPECTED = "q.id NOT IN (SELECT s.id FROM jobs s WHERE s.state = 'IN_QUEUE' AND s.deaths > 0)"
"""Reads the suspects' own index, which is nearly always empty; the column itself comes after the long texts."""
_WAITED = "CASE WHEN :now > created_ms THEN :now - created_ms ELSE 0 END"
_NOT_RUNNING = "CASE WHEN :now > created_ms + execution_ms THEN :now - created_ms - execution_ms ELSE 0 END"

_INSERT = f"INSERT INTO jobs ({_ALL}, cancel_requested) VALUES ({{values}}, FALSE)"
INSERT = text(_INSERT.format(values=", ".join(f":{name}" for name in COLUMNS)))
"""Insert a job."""
INSERT_SQLITE = _INSERT.format(values=", ".join("?" for _ in COLUMNS))
"""`INSERT` for the driver itself, used for cache hits: SQLAlchemy's cost per row is twice SQLite's."""
EXISTS = text("SELECT 1 FROM jobs WHERE id = :id")
"""Check that a job exists."""

FIND_KEY = text(
    "SELECT body_hash, job_id FROM idempotency_keys "
    "WHERE tenant = :tenant AND endpoint_id = :endpoint_id AND key = :key"
)
"""The job that an idempotency key made."""
INSERT_KEY = text(
    "INSERT INTO idempotency_keys (tenant, endpoint_id, key, body_hash, job_id, created_ms) "
    "VALUES (:tenant, :endpoint_id, :key, :body_hash, :job_id, :now)"
)
"""Store an idempotency key with its job."""

GET = text(f"SELECT {_ALL} FROM jobs WHERE id = :id")
"""A job with its request."""
PEEK = text(f"SELECT {_SHORT} FROM jobs WHERE id = :id")
"""A job without its request text."""
LED = text(
    "SELECT 1 FROM jobs j JOIN jobs o ON o.flight_key = j.flight_key AND o.state = 'IN_QUEUE' "
    "WHERE j.id = :id AND j.state = 'IN_PROGRESS' LIMIT 1"
)
"""Check that a running job has followers."""

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
"""The condition of jobs that can be claimed. Of a flight, only the first job of each tenant can, and only while no job
of the flight runs: the job whose turn comes first leads. A tenant's normal jobs come before its low-priority ones, so
that a low-priority job never leads while a normal one waits. (Scalar subqueries with a limit, since PostgreSQL may hash
the whole queue for EXISTS. The ORDER BYs below are for PostgreSQL too: without them it may scan the whole table for one
row.)"""
_NEXT = (
    "(SELECT MIN(j.tenant) FROM jobs j WHERE j.state = 'IN_QUEUE' AND j.backend = {of}.backend "
    "AND j.lane = {of}.lane AND j.tenant > {of}.tenant)"
)
_LINES = (
    "WITH RECURSIVE t (backend, lane, tenant, nth) AS ("
    f"SELECT b.backend, b.lane, {_NEXT.format(of='b')}, 1 FROM {{rings}} UNION ALL "
    f"SELECT t.backend, t.lane, {_NEXT.format(of='t')}, t.nth + 1 FROM t "
    "WHERE t.tenant IS NOT NULL AND t.nth < :lines), "
    "l AS MATERIALIZED (SELECT t.backend, t.tenant, t.lane, (SELECT j.created_ms || ' ' || j.id FROM jobs j "
    f"WHERE j.{_IN_LINE.format(line='t')} ORDER BY j.created_ms, j.id LIMIT 1 OFFSET :scan - 1) AS edge "
    "FROM t WHERE t.tenant IS NOT NULL) "
)
_FIRST = (
    "(SELECT id, chars, tenant, low_priority, flight_key, created_ms, available_ms, expires_at_ms FROM jobs "
    f"WHERE {_IN_LINE.format(line='l')} ORDER BY created_ms, id LIMIT :scan) q WHERE {_CLAIMABLE} LIMIT :per_line"
)
_HEAD = "SELECT l.backend, l.tenant, l.lane, l.edge, h.id, h.chars, h.created_ms FROM l LEFT JOIN"
HEADS = text(
    _LINES.format(
        rings="(SELECT json_extract(value, '$[0]') AS backend, json_extract(value, '$[1]') AS lane, "
        "json_extract(value, '$[2]') AS tenant FROM json_each(:rings)) b"
    )
    + f"{_HEAD} jobs h ON h.id IN (SELECT q.id FROM {_FIRST})"
)
"""The heads of the next `lines` lines of each backend and lane: the claimable jobs among the first `scan` jobs of a
line, and the place of the last of these if there are that many. Jumps from line to line in the queue's index, so that a
long line does not slow down the others."""
HEADS_SHARED = text(
    _LINES.format(
        rings="unnest(CAST(:backends AS text[]), CAST(:lanes AS bigint[]), CAST(:tenants AS text[])) "
        "AS b (backend, lane, tenant)"
    )
    + f"{_HEAD} LATERAL (SELECT q.id, q.chars, q.created_ms FROM {_FIRST}) h ON TRUE"
)
"""`HEADS` for PostgreSQL."""
BEHIND = text(
    f"SELECT q.id, q.chars, q.created_ms, CASE WHEN {_CLAIMABLE} THEN 1 ELSE 0 END FROM jobs q "
    "WHERE q.state = 'IN_QUEUE' AND q.backend = :backend AND q.tenant = :tenant AND q.lane = :lane "
    "AND (q.created_ms, q.id) > (:after_ms, :after_id) ORDER BY q.created_ms, q.id LIMIT :scan"
)
"""The next jobs of one line behind a place, each with whether it can be claimed."""
WANTED = text(
    "SELECT EXISTS (SELECT 1 FROM (SELECT id FROM jobs WHERE state = 'IN_QUEUE' AND backend = :backend "
    f"ORDER BY lane, tenant, created_ms, id LIMIT :scan) f JOIN jobs q ON q.id = f.id WHERE {_CLAIMABLE}) OR EXISTS "
    "(SELECT 1 FROM jobs WHERE state = 'IN_QUEUE' AND backend = :backend "
    "ORDER BY lane, tenant, created_ms, id LIMIT 1 OFFSET :scan)"
)
"""Check that a job waits for a backend: one of the first `scan` can be claimed, or there are more than `scan`."""
LIFTED = text(
    "SELECT DISTINCT flight_key FROM jobs WHERE state = 'IN_QUEUE' AND flight_key IN :flights AND low_priority = FALSE"
).bindparams(bindparam("flights", expanding=True))
"""Those of these flights that have a waiting job without low priority."""

CLAIM = text(
    "UPDATE jobs SET state = 'IN_PROGRESS', owner = :owner, attempt = attempt + 1, beat = 0, "
    "started_ms = COALESCE(started_ms, :now), error = NULL, error_code = NULL "
    f"WHERE id = :id AND state = 'IN_QUEUE' AND {_AVAILABLE} "
    "AND (expires_at_ms IS NULL OR expires_at_ms > :now) AND (flight_key IS NULL OR NOT EXISTS ("
    "SELECT 1 FROM jobs r WHERE r.state = 'IN_PROGRESS' AND r.flight_key = jobs.flight_key)) "
    f"RETURNING {_ALL}"
)
"""Take a lease. The condition and the unique index on running flights both prevent a second leader."""
CLAIM_NEW = text(
    "UPDATE jobs SET state = 'IN_PROGRESS', owner = :owner, attempt = 1, started_ms = :now "
    "WHERE id = :id AND (flight_key IS NULL OR NOT EXISTS ("
    "SELECT 1 FROM jobs r WHERE r.state = 'IN_PROGRESS' AND r.flight_key = jobs.flight_key)) "
    "RETURNING EXISTS (SELECT 1 FROM cache_entries c WHERE c.key = jobs.flight_key)"
)
"""Take a lease on a job in the transaction that inserts it, and return whether its audio is in the cache. Both are
checked at one moment: either the leader of its flight still runs, and the job follows, or the leader's audio is in the
cache, and nothing is spoken again."""
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
"""`CLAIM` for PostgreSQL: take leases, skip jobs that another server is claiming; of a flight, the first of `ids`."""

_PROGRESS = (
    "chunks_total = COALESCE(CAST(:total AS integer), chunks_total), chunks_done = CASE "
    "WHEN CAST(:total AS integer) < CAST(:done AS integer) OR CAST(:total AS integer) < chunks_done "
    "THEN CAST(:total AS integer) WHEN chunks_done < CAST(:done AS integer) THEN CAST(:done AS integer) "
    "ELSE chunks_done END"
)
"""The progress of a job. Chunks done never decrease, since an older count may be written later."""
BEAT = text(
    f"UPDATE jobs SET beat = beat + 1, {_PROGRESS}, execution_ms = COALESCE(:execution_ms, execution_ms) {_MINE}"
)
"""Renew a lease; also write progress and running time, which another server needs if it ends the job."""
HAND_OVER = text(f"UPDATE jobs SET backend = :backend, chunks_done = 0 {_MINE} AND {_UNHEARD} RETURNING id")
"""Move a job to another backend, which starts it again, unless `/stream` has sent items: the voice must not change in
the middle."""
HELD = text("SELECT id, attempt FROM jobs WHERE owner = :owner AND state = 'IN_PROGRESS'")
"""The jobs that an owner still holds."""
LEASES = text("SELECT id, owner, beat, attempt, request_id FROM jobs WHERE state = 'IN_PROGRESS'")
"""Every lease, for the observer."""

_LAST_DEATH = "deaths + 1 >= :most_deaths"
EXPIRE = text(
    f"UPDATE jobs SET state = CASE WHEN {_LAST_DEATH} THEN 'FAILED' ELSE 'IN_QUEUE' END, deaths = deaths + 1, "
    f"retries = CASE WHEN {_LAST_DEATH} THEN retries ELSE retries + 1 END, "
    "available_ms = :now + (1000 << CAST(deaths AS integer)), "
    f"finished_ms = CASE WHEN {_LAST_DEATH} THEN :now END, retain_until_ms = CASE WHEN {_LAST_DEATH} THEN {_KEPT} END, "
    f"delay_ms = {_NOT_RUNNING}, worker_id = CASE WHEN {_LAST_DEATH} THEN owner ELSE worker_id END, "
    f"error = CASE WHEN {_LAST_DEATH} THEN :last ELSE :error END, error_code = :code, owner = NULL, beat = 0 "
    "WHERE id = :id AND owner = :owner AND beat = :beat AND attempt = :attempt AND state = 'IN_PROGRESS' "
    f"{_ENDED}, flight_key, state"
)
"""Expire a dead owner's lease: the job waits 1, 2, 4, 8 s, doubled with each death; death `most_deaths` ends it."""
SUSPECTS = text(
    "SELECT q.id, q.tenant, q.chars, q.lane, q.created_ms, q.backend "
    "FROM (SELECT id, deaths FROM jobs WHERE state = 'IN_QUEUE' AND deaths > 0) AS s CROSS JOIN jobs q "
    f"WHERE q.id = s.id AND q.backend IN :backends AND {_AVAILABLE} "
    "AND (q.expires_at_ms IS NULL OR q.expires_at_ms > :now) AND (q.flight_key IS NULL OR NOT EXISTS ("
    "SELECT 1 FROM jobs r WHERE r.state = 'IN_PROGRESS' AND r.flight_key = q.flight_key)) "
    "ORDER BY s.deaths, q.low_priority, q.created_ms, q.id LIMIT :limit"
).bindparams(bindparam("backends", expanding=True))
"""Suspects that can be claimed now, those with the fewest deaths first."""
REQUEUE = text(
    "UPDATE jobs SET state = 'IN_QUEUE', owner = NULL, beat = 0, failures = failures + :counted, "
    f"retries = retries + :counted, available_ms = :available_ms, error = :error, "
    f"execution_ms = COALESCE(:execution_ms, execution_ms) {_MINE} RETURNING id, attempt, endpoint_id"
)
"""Give up a lease and requeue the job."""
STORED_TAKES = text(f"UPDATE jobs SET failures = 0, deaths = 0, {_PROGRESS} {_MINE}")
"""Note stored takes: the attempt made progress, so failures and deaths are reset."""

COMPLETE = text(
    "UPDATE jobs SET state = 'COMPLETED', output = :output, blob_hash = :blob_hash, "
    "cache_key = COALESCE(:cache_key, cache_key), backend = :backend, worker_id = :worker_id, delay_ms = :delay_ms, "
    "execution_ms = :execution_ms, finished_ms = :now, chunks_done = chunks_total, owner = NULL, "
    f"error = NULL, error_code = NULL, {_RETAIN} {_MINE} {_ENDED}, flight_key"
)
"""Complete a job, if the lease still holds."""
COMPLETE_FOLLOWERS = text(
    "UPDATE jobs SET state = 'COMPLETED', output = :output, blob_hash = :blob_hash, "
    "cache_key = COALESCE(:cache_key, cache_key), backend = :backend, worker_id = :worker_id, "
    f"delay_ms = {_WAITED}, execution_ms = 0, finished_ms = :now, error = NULL, error_code = NULL, {_RETAIN} "
    f"WHERE flight_key = :flight_key AND state = 'IN_QUEUE' AND (backend = :backend OR ({_UNHEARD})) {_ENDED}"
)
"""Complete the followers, except those to which another backend has already streamed a part."""
FAIL = text(
    "UPDATE jobs SET state = :state, error = :error, error_code = :code, worker_id = COALESCE(:worker_id, worker_id), "
    f"delay_ms = :delay_ms, execution_ms = :execution_ms, finished_ms = :now, owner = NULL, {_RETAIN} "
    f"{_MINE} {_ENDED}, flight_key"
)
"""Fail a job, if the lease still holds."""
FAIL_FOLLOWERS = text(
    f"UPDATE jobs SET state = 'FAILED', error = :error, error_code = :code, delay_ms = {_WAITED}, finished_ms = :now, "
    f"{_RETAIN} WHERE flight_key = :flight_key AND state = 'IN_QUEUE' {_ENDED}"
)
"""Fail the followers: the same input fails for each of them."""

_WHEREVER = (
    f"worker_id = COALESCE(owner, worker_id), owner = NULL, finished_ms = :now, delay_ms = {_NOT_RUNNING}, {_RETAIN}"
)
"""Columns that end a job in the queue or running; `execution_ms` stays as its owner last wrote it."""
_CANCELLED = f"state = 'CANCELLED', {_WHEREVER}"
CANCEL = text(f"UPDATE jobs SET {_CANCELLED} WHERE id = :id AND state IN ('IN_QUEUE', 'IN_PROGRESS') {_ENDED}")
"""Cancel a waiting or running job; the fence voids later writes of its owner."""
PURGE = text(
    f"UPDATE jobs SET {_CANCELLED} WHERE id IN (SELECT id FROM jobs WHERE state = 'IN_QUEUE' "
    "AND endpoint_id = :endpoint_id AND tenant = :tenant LIMIT :limit) "
    f"AND state = 'IN_QUEUE' {_ENDED}"
)
"""Cancel some of a tenant's waiting jobs at an endpoint."""
RETRY = text(
    "UPDATE jobs SET state = 'IN_QUEUE', output = NULL, blob_hash = NULL, error = NULL, error_code = NULL, "
    "failures = 0, deaths = 0, retries = retries + 1, available_ms = 0, started_ms = NULL, "
    "expires_at_ms = :now + expires_at_ms - COALESCE((SELECT MAX(e.at_ms) FROM job_events e WHERE e.job_id = jobs.id "
    "AND e.event = 'retried'), created_ms), "
    "finished_ms = NULL, retain_until_ms = NULL, delay_ms = 0, execution_ms = 0, chunks_done = 0, "
    "stream_cursor = 0, stream_sending = NULL, worker_id = NULL WHERE id = :id AND state IN ('FAILED', 'TIMED_OUT') "
    f"AND (retain_until_ms IS NULL OR retain_until_ms > :now) RETURNING {_ALL}"
)
"""Requeue a failed job and drop its result. Its ttl, counted from its submission or last retry, restarts."""

_LATE_WAITING = "SELECT id FROM jobs WHERE state = 'IN_QUEUE' AND expires_at_ms <= :now"
_LATE_RUNNING = "SELECT id FROM jobs WHERE state = 'IN_PROGRESS' AND owner >= '' AND expires_at_ms <= :now"
ANY_LATE = text(f"SELECT EXISTS ({_LATE_WAITING}) OR EXISTS ({_LATE_RUNNING})")
"""Check that a job is past its ttl. `owner >= ''` is always true and selects the index of running jobs."""
_TTL = f"UPDATE jobs SET state = 'TIMED_OUT', error = :error, error_code = 'ttl_expired', {_WHEREVER} WHERE id IN"
TTL_QUEUED = text(f"{_TTL} ({_LATE_WAITING} ORDER BY expires_at_ms LIMIT :limit) AND state = 'IN_QUEUE' {_ENDED}")
"""End some waiting jobs past their ttl."""
TTL_RUNNING = text(f"{_TTL} ({_LATE_RUNNING} LIMIT :limit) AND state = 'IN_PROGRESS' {_ENDED}")
"""End some running jobs past their ttl."""

ANY_WAITING = text("SELECT EXISTS (SELECT 1 FROM jobs WHERE state = 'IN_QUEUE' AND backend >= '')")
"""Check that a job waits."""
SHORTEN = text("UPDATE jobs SET retain_until_ms = :until WHERE id = :id AND retain_until_ms > :until")
"""Shorten the retention of a finished job; never lengthen it."""
RETAINED = text(
    "SELECT id, chars FROM jobs WHERE retain_until_ms IS NOT NULL AND retain_until_ms <= :now "
    "ORDER BY retain_until_ms LIMIT :limit"
)
"""Finished jobs whose retention is over."""
DELETE_RETAINED = with_list(
    "DELETE FROM jobs WHERE id IN :ids AND retain_until_ms IS NOT NULL AND retain_until_ms <= :now", "ids"
)
"""Delete those jobs; their events, webhooks and idempotency keys are deleted by cascade."""

WAITING = text("SELECT COALESCE(SUM(n), 0) FROM job_counts WHERE state = 'IN_QUEUE'")
"""The number of waiting jobs; reads a row for each endpoint that has waiting jobs, or had some a minute ago."""
_PLACE = (
    "SELECT COUNT(*) FROM (SELECT 1 FROM jobs WHERE state = 'IN_QUEUE' AND backend = {of}backend "
    "AND tenant = {of}tenant AND lane = (SELECT MIN(lane) FROM jobs WHERE state = 'IN_QUEUE' AND backend = {of}backend "
    "AND tenant = {of}tenant AND lane IN (0, 1, 2) AND created_ms = {of}created_ms AND id >= {of}id AND id <= {of}id) "
    "AND (created_ms, id) <= ({of}created_ms, {of}id) LIMIT :limit) AS ahead"
)
AHEAD = text(_PLACE.format(of=":"))
"""A job's position among its tenant's jobs in the same lane, itself included; 0 if it does not wait.

Reads only the queue's index, also for the lane: in the row itself SQLite would walk through the job's text to reach it.
"""
PEEK_PLACED = text(
    f"SELECT {_SHORT}, CASE WHEN state = 'IN_QUEUE' THEN ({_PLACE.format(of='j.')}) ELSE 0 END "
    "FROM jobs j WHERE id = :id"
)
"""A job for its status and its place in the queue, in one round trip."""

BEGIN_SENDING = text(
    "UPDATE jobs SET stream_sending = :token WHERE id = :id AND retries = :retries AND backend = :backend "
    "AND stream_cursor = :cursor AND COALESCE(stream_sending, '') = :before"
)
"""Write a stream token, so that of several polls on any servers that read the same items only one sends them."""
END_SENDING = text(
    "UPDATE jobs SET stream_cursor = :to, stream_sending = NULL WHERE id = :id AND stream_sending = :token"
)
"""Clear a stream token: the items were sent (the cursor moves), or the answer failed (the cursor stays)."""
