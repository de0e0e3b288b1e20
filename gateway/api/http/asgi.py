"""The ASGI types of the specification: plain mappings and three callables. Litestar's own types are narrower."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Body: TypeAlias = tuple[bytes, ...] | Iterator[memoryview]
"""A body: parts that are written at once, or pieces of a body that is too large for that."""
Lane: TypeAlias = Callable[[Scope, bytes, bytes | bytearray], tuple[bytes, Body] | None]
"""Answers a complete POST (scope, target, body) with header lines and a body; None if the application must answer."""
EarlyError: TypeAlias = Callable[[bytes, int, str], bytes]
"""Makes the JSON of an error before there is a request, from the target so far, the status and the message."""
PIECE_BYTES = 65_536
"""A larger body is sent in pieces of this size. Each is sent when the reader has taken most of those before it."""
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
