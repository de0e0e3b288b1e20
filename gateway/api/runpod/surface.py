"""The surface of RunPod's job API."""

from __future__ import annotations

from collections.abc import Sequence

from litestar.types import ControllerRouterHandler

from gateway.api.http.documents import SpeechEnvelope
from gateway.api.http.mounts import per_endpoint
from gateway.api.http.surface import Surface
from gateway.api.runpod import jobs
from gateway.api.runpod.stream import stream
from gateway.settings import Settings

_OTHERS = (jobs.runsync, jobs.status, jobs.status_sync, jobs.cancel, jobs.retry, jobs.purge_queue, jobs.health, stream)


def _routes(settings: Settings) -> Sequence[ControllerRouterHandler]:
    """Build the routers. `/run` has its own, because its body limit differs."""
    return [
        *per_endpoint((jobs.run,), settings.max_body_run_bytes),
        *per_endpoint(_OTHERS, settings.max_body_runsync_bytes, named_only=(jobs.endpoint_info,)),
    ]


RUNPOD = Surface(routes=_routes, bodies={"run": SpeechEnvelope, "runsync": SpeechEnvelope})
