"""ASGI as the specification has it: plain mappings and three callables. Litestar's own types are narrower."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Body: TypeAlias = bytes | Iterator[memoryview]
"""A body; in pieces where it is too large to be written at once."""
Lane: TypeAlias = Callable[[Scope, bytes, bytes | bytearray], tuple[bytes, Body] | None]
"""Header lines and body of an answer to a whole POST (scope, target, body) that needs no application, or None."""
EarlyError: TypeAlias = Callable[[bytes, int, str], bytes]
"""The JSON of an error that is answered before there is a request: target as far as it came, status, message."""
PIECE_BYTES = 65_536
"""A larger body leaves in pieces of this size, each when its reader has taken most of those before it."""
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
