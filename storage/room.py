"""Who may send how many webhooks at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


class Room:
    """Places for deliveries that may run at a time, and who holds them.

    Nobody gets them all: a tenant takes another only while more are free than it holds, so whoever comes last finds
    one, and one receiver of a tenant holds a few at most.

    Args:
        held: tenant and receiver of each delivery that runs.
    """

    def __init__(self, places: int, per_receiver: int, held: Iterable[tuple[str, str]]) -> None:
        self.free = places
        self._per_receiver = per_receiver
        self._tenants: Counter[str] = Counter()
        self._receivers: Counter[str] = Counter()
        for tenant, receiver in held:
            self.fill(tenant, receiver)

    def has_for(self, tenant: str, receiver: str) -> bool:
        """Whether one more may be sent."""
        return self.free > self._tenants[tenant] and self._receivers[f"{tenant} {receiver}"] < self._per_receiver

    def fill(self, tenant: str, receiver: str) -> None:
        """One more is sent."""
        self.free -= 1
        self._tenants[tenant] += 1
        self._receivers[f"{tenant} {receiver}"] += 1

    def left_out(self) -> dict[str, list[str]]:
        """Who may not send another."""
        tenants = [tenant for tenant, holds in self._tenants.items() if holds >= self.free]
        receivers = [receiver for receiver, holds in self._receivers.items() if holds >= self._per_receiver]
        return {"tenants": tenants, "receivers": receivers}
