"""ASGI as the specification has it: plain mappings and three callables. Litestar's own types are narrower."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Lane: TypeAlias = Callable[[Scope, bytes, bytes | bytearray], tuple[bytes, bytes] | None]
"""Header lines and body of an answer to a whole POST (scope, target, body) that needs no application, or None."""
EarlyError: TypeAlias = Callable[[bytes, int, str], bytes]
"""The JSON of an error that is answered before there is a request: target as far as it came, status, message."""
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
