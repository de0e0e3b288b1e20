"""A surface: one public API with its routes, its bodies, and its wording of errors.

`gateway.app` lists the surfaces. `gateway.api.app` and `gateway.api.http` name none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from litestar import MediaType, Request, Response
from litestar.types import ControllerRouterHandler

from gateway.settings import Settings

ErrorWording: TypeAlias = Callable[[int, str, str | None], object]
"""Makes the body of an error, a type that msgspec encodes, from its status, message and code."""


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The reason why a request was refused or failed."""

    error: str


def plain_error(status: int, message: str, code: str | None = None) -> ErrorAnswer:
    """Make the body of an error for surfaces without their own wording."""
    return ErrorAnswer(message)


class Surface(msgspec.Struct, frozen=True, kw_only=True):
    """One public API.

    Args:
        prefix: the path below which `word_error` applies; empty if the surface has no prefix of its own.
        routes: makes the routes that the OpenAPI document shows.
        unlisted: more routes, which the document does not show.
        word_error: makes the body of an error.
        errors: the handlers of the surface's own exceptions.
        bodies: the type of each JSON body, by operation id.
        forms: the JSON schema of a form that may be sent instead, by operation id.
    """

    prefix: str = ""
    routes: Callable[[Settings], Sequence[ControllerRouterHandler]]
    unlisted: tuple[ControllerRouterHandler, ...] = ()
    word_error: ErrorWording = plain_error
    errors: Mapping[type[Exception], Callable[[Request[Any, Any, Any], Any], Response[bytes]]] = {}
    bodies: Mapping[str, type[msgspec.Struct]] = {}
    forms: Mapping[str, Mapping[str, Any]] = {}


class Wording:
    """Words each error as the surface does that was called."""

    def __init__(self, surfaces: Sequence[Surface]) -> None:
        self._by_prefix = tuple((surface.prefix, surface.word_error) for surface in surfaces if surface.prefix)

    def body(self, path: str, status: int, message: str, code: str | None = None) -> bytes:
        """Make the JSON of an error.

        Args:
            path: the path of the request, or the part of its target that has arrived.
        """
        for prefix, word_error in self._by_prefix:
            if path.startswith(prefix):
                return msgspec.json.encode(word_error(status, message, code))
        return msgspec.json.encode(plain_error(status, message, code))

    def early(self, target: bytes, status: int, message: str) -> bytes:
        """Make the JSON of an error that a connection answers before the request is complete."""
        return self.body(target.decode("latin-1"), status, message)


def error_response(status: int, message: str, headers: dict[str, str] | None = None) -> Response[bytes]:
    """Answer with an error in the plain wording."""
    return Response(
        msgspec.json.encode(ErrorAnswer(message)), status_code=status, headers=headers, media_type=MediaType.JSON
    )
