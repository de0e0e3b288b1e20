"""All metrics of the server; names and labels are documented in docs/metrics.md.

Label values are bounded: endpoint, backend, state and code, never a tenant's text or a job's id.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class Metrics:
    """The server's metrics. Each server owns its registry, so that two servers can run in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.http_requests = Counter(
            "voxgate_http_requests", "HTTP requests by verb and status.", ("verb", "status"), registry=r
        )
        self.http_seconds = Histogram(
            "voxgate_http_request_seconds", "Time to answer, by verb.", ("verb",), buckets=_SECONDS, registry=r
        )
        self.jobs_submitted = Counter("voxgate_jobs_submitted", "Jobs accepted.", ("endpoint", "kind"), registry=r)
        self.jobs_finished = Counter(
            "voxgate_jobs_finished", "Jobs that reached an end, by state.", ("endpoint", "backend", "state"), registry=r
        )
        self.jobs_running = Gauge("voxgate_jobs_running", "Jobs this server is running.", registry=r)
        self.running_bytes = Gauge(
            "voxgate_running_bytes", "Bytes the jobs this server runs are estimated to hold in memory.", registry=r
        )
        self.jobs_queued = Gauge("voxgate_jobs_queued", "Jobs waiting, as last counted.", registry=r)
        self.job_delay_seconds = Histogram(
            "voxgate_job_delay_seconds", "Waiting and loading before a job's first chunk.", buckets=_SECONDS, registry=r
        )
        self.job_execution_seconds = Histogram(
            "voxgate_job_execution_seconds", "From a job's first chunk to its end.", buckets=_SECONDS, registry=r
        )
        self.cache_answers = Counter(
            "voxgate_cache_answers",
            "Requests answered from the cache, by tier (hot, cold, flight).",
            ("tier",),
            registry=r,
        )
        self.takes = Counter(
            "voxgate_takes", "Chunks by origin: spoken, stored, shared.", ("backend", "origin"), registry=r
        )
        self.take_failures = Counter(
            "voxgate_take_failures", "Chunks a backend could not speak, by kind.", ("backend", "kind"), registry=r
        )
        self.take_flaws = Counter(
            "voxgate_take_flaws",
            "Flaws found in takes, by kind: too_short, too_long, dead_air, clipped, looped, missed_eos.",
            ("backend", "flaw"),
            registry=r,
        )
        self.take_retries = Counter(
            "voxgate_take_retries", "Takes spoken again because a check found a flaw.", ("backend",), registry=r
        )
        self.audio_seconds = Counter("voxgate_audio_seconds", "Seconds of speech finished.", ("backend",), registry=r)
        self.engine_seconds = Counter(
            "voxgate_engine_seconds", "Seconds engines spent speaking.", ("backend",), registry=r
        )
        self.workers = Gauge("voxgate_workers", "Engine workers by state.", ("backend", "state"), registry=r)
        self.worker_restarts = Gauge(
            "voxgate_worker_restarts", "Engine workers that died and were started again.", ("backend",), registry=r
        )
        self.leases_expired = Counter("voxgate_leases_expired", "Jobs taken over from a silent server.", registry=r)
        self.hot_bytes = Gauge(
            "voxgate_hot_tier_bytes",
            "Bytes held by the in-memory tier: audio, decoded requests and prepared answers.",
            registry=r,
        )
        self.stream_bytes = Gauge(
            "voxgate_stream_bytes", "Bytes kept between two polls of /stream, for all callers.", registry=r
        )
        self.webhook_bytes = Gauge("voxgate_webhook_bytes", "Bytes of webhook bodies under way.", registry=r)
        self._held: list[Callable[[], int]] = []
        self.swept_blobs = Counter("voxgate_swept_blobs", "Unreferenced audio files removed.", registry=r)
        self.damaged_files = Counter(
            "voxgate_damaged_files", "Audio files found damaged: other bytes than those stored.", registry=r
        )

    def hold(self, size_bytes: Callable[[], int]) -> None:
        """Add a source of bytes to the total of the in-memory tier."""
        self._held.append(size_bytes)

    def count_held(self) -> None:
        """Update the gauge of the in-memory tier's bytes."""
        self.hot_bytes.set(sum(size_bytes() for size_bytes in self._held))
