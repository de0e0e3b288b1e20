"""Who asks: the key's public side, as every request carries it."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import msgspec

from gateway.errors import Forbidden

Scope: TypeAlias = Literal["speak", "voices", "compare", "admin"]
Environment: TypeAlias = Literal["dev", "staging", "prod"]

SCOPES: tuple[Scope, ...] = get_args(Scope)
ENVIRONMENTS: tuple[Environment, ...] = get_args(Environment)


class Principal(msgspec.Struct, frozen=True):
    """A key that was found good. One object per key, so it is not made anew for each request.

    Args:
        key_id: the public id of the key; `settings` for VOXGATE_API_KEY.
        requests_per_minute: jobs and other speech it may ask for, over all servers; None: no limit.
        characters_per_day: characters it may have spoken per UTC day; None: no limit.
    """

    key_id: str
    tenant: str
    scopes: frozenset[str]
    requests_per_minute: int | None = None
    characters_per_day: int | None = None


def require(principal: Principal, scope: str) -> None:
    """Refuse a key whose scopes do not cover this. No scope implies another.

    Raises:
        Forbidden: names the scope that is missing and those the key has.
    """
    if scope not in principal.scopes:
        have = ", ".join(sorted(principal.scopes)) or "none"
        raise Forbidden(f"this key lacks the scope {scope} (it has: {have}); ask for a key that has it")
