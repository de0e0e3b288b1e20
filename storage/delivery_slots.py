"""Shares the places for webhook deliveries among tenants and receivers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


class DeliverySlots:
    """The places for concurrent deliveries, and the tenants and receivers that hold them.

    A tenant may take another place only while more are free than it holds, so that a place is left for other tenants;
    one receiver of a tenant holds at most `per_receiver`.

    Args:
        held: tenant and receiver of each running delivery.
    """

    def __init__(self, places: int, per_receiver: int, held: Iterable[tuple[str, str]]) -> None:
        self.free = places
        self._per_receiver = per_receiver
        self._tenants: Counter[str] = Counter()
        self._receivers: Counter[str] = Counter()
        for tenant, receiver in held:
            self.take(tenant, receiver)

    def has_free(self, tenant: str, receiver: str) -> bool:
        """Return whether one more delivery may be sent."""
        return self.free > self._tenants[tenant] and self._receivers[f"{tenant} {receiver}"] < self._per_receiver

    def take(self, tenant: str, receiver: str) -> None:
        """Take a place for one more delivery."""
        self.free -= 1
        self._tenants[tenant] += 1
        self._receivers[f"{tenant} {receiver}"] += 1

    def full(self) -> dict[str, list[str]]:
        """Return the tenants and receivers that may not send another delivery."""
        tenants = [tenant for tenant, holds in self._tenants.items() if holds >= self.free]
        receivers = [receiver for receiver, holds in self._receivers.items() if holds >= self._per_receiver]
        return {"tenants": tenants, "receivers": receivers}
