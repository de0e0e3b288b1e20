"""A surface: one public API, with its routes, its bodies, and how it words an error.

`gateway.app` names the surfaces there are; `gateway.api.app` and `gateway.api.http` know none by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from litestar import MediaType, Request, Response
from litestar.types import ControllerRouterHandler

from gateway.settings import Settings

ErrorWording: TypeAlias = Callable[[int, str, str | None], object]
"""Makes the body of an error, a type that msgspec encodes, of its status, its message and its code."""


class ErrorAnswer(msgspec.Struct, frozen=True):
    """Why a request was refused or failed."""

    error: str


def plain_error(status: int, message: str, code: str | None = None) -> ErrorAnswer:
    """The body of an error on every surface that has no wording of its own."""
    return ErrorAnswer(message)


class Surface(msgspec.Struct, frozen=True, kw_only=True):
    """One public API.

    Args:
        name: how it is told apart from the others.
        prefix: the path below which `word_error` applies; empty where the surface has no prefix of its own.
        routes: makes the routes of the OpenAPI document.
        unlisted: further routes, which the document leaves out.
        word_error: makes the body of an error.
        errors: how exceptions of its own are answered.
        bodies: the type that is sent as JSON, by operation id.
        forms: the JSON schema of what may be sent as a form instead, by operation id.
    """

    name: str
    prefix: str = ""
    routes: Callable[[Settings], Sequence[ControllerRouterHandler]]
    unlisted: tuple[ControllerRouterHandler, ...] = ()
    word_error: ErrorWording = plain_error
    errors: Mapping[type[Exception], Callable[[Request[Any, Any, Any], Any], Response[bytes]]] = {}
    bodies: Mapping[str, type[msgspec.Struct]] = {}
    forms: Mapping[str, Mapping[str, Any]] = {}


class Wording:
    """Words an error as the surface does whose address was called."""

    def __init__(self, surfaces: Sequence[Surface]) -> None:
        self._by_prefix = tuple((surface.prefix, surface.word_error) for surface in surfaces if surface.prefix)

    def body(self, path: str, status: int, message: str, code: str | None = None) -> bytes:
        """The JSON of an error.

        Args:
            path: of the request, or as much of its target as came.
        """
        for prefix, word_error in self._by_prefix:
            if path.startswith(prefix):
                return msgspec.json.encode(word_error(status, message, code))
        return msgspec.json.encode(plain_error(status, message, code))

    def early(self, target: bytes, status: int, message: str) -> bytes:
        """The JSON of an error that a connection answers itself, before a request is whole."""
        return self.body(target.decode("latin-1"), status, message)


def error_response(status: int, message: str, headers: dict[str, str] | None = None) -> Response[bytes]:
    """An error in the plain wording."""
    return Response(
        msgspec.json.encode(ErrorAnswer(message)), status_code=status, headers=headers, media_type=MediaType.JSON
    )
