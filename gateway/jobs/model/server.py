"""The identity of a server: its settings, its clock, its metrics and the name under which it holds jobs."""

from __future__ import annotations

import msgspec

from gateway.clock import Clock
from gateway.metrics import Metrics
from gateway.settings import Settings


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One server, as the parts that handle its jobs know it.

    Args:
        owner: the owner of its leases; no other server, and no other start of this one, has the same.
    """

    settings: Settings
    clock: Clock
    metrics: Metrics
    owner: str
