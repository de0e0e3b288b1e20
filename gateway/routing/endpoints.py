"""Finds endpoints, the public names in the URL: from voxgate.toml, from the database, or made on demand."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gateway.access.limits import ON_DEMAND
from gateway.errors import NotFound
from gateway.routing.policy import NO_POLICY, RoutePolicy, read_policy
from gateway.settings import Settings
from storage.endpoints import EndpointRecord, EndpointStore

MAX_ID_LENGTH = 64
ID_RULE = (
    f"an endpoint's id is 1 to {MAX_ID_LENGTH} letters, digits, dots, hyphens or underscores, a letter or digit first"
)

is_id = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_ID_LENGTH - 1}}}").fullmatch
"""Matches a valid endpoint id; see `ID_RULE`."""


class Endpoint(msgspec.Struct, frozen=True):
    """One endpoint.

    Args:
        defaults: for keys of `input` that a request leaves out.
        origin: `settings`, `database` or `demand`.
    """

    id: str
    defaults: dict[str, Any] = {}
    policy: RoutePolicy = NO_POLICY
    origin: str = "demand"

    @property
    def backend(self) -> str | None:
        """Return the backend for requests that name none."""
        return self.defaults.get("backend")

    @property
    def input_defaults(self) -> dict[str, Any]:
        """Return the defaults for `input` without `backend`, since a request that names a backend has no fallback."""
        return {key: value for key, value in self.defaults.items() if key != "backend"}


class Endpoints:
    """Finds endpoints by id in memory; those of the database are read again after a change."""

    def __init__(self, settings: Settings, store: EndpointStore) -> None:
        self._store = store
        self._on_demand = settings.endpoints_on_demand
        self._fixed = {
            name: Endpoint(name, table.input_defaults(), _policy_of(settings, name), "settings")
            for name, table in settings.endpoints.items()
        }
        self._stored: dict[str, Endpoint] = {}
        self._mark = -1

    async def refresh(self) -> bool:
        """Read the endpoints of the database again if one was written; return whether they changed."""
        mark = await self._store.mark()
        if mark == self._mark:
            return False
        stored = {record.id: _from_record(record) for record in await self._store.all()}
        changed = stored != self._stored
        self._stored = stored
        self._mark = mark
        return changed

    def all(self) -> list[Endpoint]:
        """Return every endpoint of the settings and of the database; settings take precedence."""
        return [*self._fixed.values(), *(e for e in self._stored.values() if e.id not in self._fixed)]

    def label(self, endpoint_id: str) -> str:
        """Return the endpoint's name in metrics; those made on demand share one, so that callers cannot add names."""
        known = endpoint_id == "default" or endpoint_id in self._fixed or endpoint_id in self._stored
        return endpoint_id if known else ON_DEMAND

    def resolve(self, endpoint_id: str) -> Endpoint:
        """Return the endpoint of this id; `default` always exists.

        Raises:
            NotFound: it does not exist and endpoints are not made on demand, or the id is not valid.
        """
        found = self._fixed.get(endpoint_id) or self._stored.get(endpoint_id)
        if found is not None:
            return found
        if not is_id(endpoint_id):
            raise NotFound(f"endpoint {endpoint_id[:MAX_ID_LENGTH]!r} cannot exist: {ID_RULE}")
        if endpoint_id == "default" or self._on_demand:
            return Endpoint(endpoint_id)
        raise NotFound(
            f"endpoint {endpoint_id!r} does not exist; `voxgate endpoints list` shows those that do, "
            "`voxgate endpoints create` makes one"
        )


def decode_record(record: EndpointRecord) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return defaults and policy of an endpoint of the database."""
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    return decode(record.defaults), decode(record.policy)


def _policy_of(settings: Settings, name: str) -> RoutePolicy:
    return read_policy(settings.origin(f"endpoints.{name}.policy"), settings.endpoints[name].policy)


def _from_record(record: EndpointRecord) -> Endpoint:
    defaults, policy = decode_record(record)
    return Endpoint(record.id, defaults, read_policy(f"the policy of endpoint {record.id!r}", policy), "database")
