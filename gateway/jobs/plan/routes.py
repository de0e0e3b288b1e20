"""The routes of requests: from an endpoint to the backend that speaks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from gateway.jobs.plan.assign import Assigner
from gateway.routing.endpoints import Endpoints


class Routes(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoints, and the assigner of backends to requests.

    Args:
        reload: reads again voices, dictionaries and endpoints, which other servers may have changed.
    """

    endpoints: Endpoints
    assigner: Assigner
    reload: Callable[[], Awaitable[None]]
