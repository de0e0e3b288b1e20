"""The principal: the public part of the key that a request carries."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import msgspec

from gateway.errors import Forbidden

Scope: TypeAlias = Literal["speak", "voices", "compare", "admin"]
Environment: TypeAlias = Literal["dev", "staging", "prod"]

SCOPES: tuple[Scope, ...] = get_args(Scope)
ENVIRONMENTS: tuple[Environment, ...] = get_args(Environment)


class Principal(msgspec.Struct, frozen=True):
    """A valid key. All requests with one key share one object.

    Args:
        key_id: the public id of the key; `settings` for VOXGATE_API_KEY.
        requests_per_minute: requests for speech per minute, over all servers; None: no limit.
        characters_per_day: characters of text per UTC day; None: no limit.
    """

    key_id: str
    tenant: str
    scopes: frozenset[str]
    requests_per_minute: int | None = None
    characters_per_day: int | None = None


def require(principal: Principal, scope: str) -> None:
    """Check that a key has a scope. No scope implies another.

    Raises:
        Forbidden: names the missing scope and those the key has.
    """
    if scope not in principal.scopes:
        have = ", ".join(sorted(principal.scopes)) or "none"
        raise Forbidden(f"this key lacks the scope {scope} (it has: {have}); ask for a key that has it")
