"""Answer exceptions with a status and a message, in the wording of the surface that was called."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from litestar import MediaType, Request, Response
from litestar.exceptions import HTTPException, ValidationException

from gateway.api.http.envelope import RANGES, out_of_range
from gateway.api.http.surface import Surface, Wording, error_response
from gateway.errors import TooManyRequests, VoxgateError, code_of, status_of
from gateway.settings.logs import get_logger

log = get_logger(__name__)

_WORDS = {
    404: "Not found: no such address; see /docs",
    405: "Method not allowed",
}

_TAKE_JSON = ("/run", "/runsync")
"""Paths whose error for a large body has RunPod's wording."""


_BODY_CUT = "client disconnected prematurely"
"""Litestar's message if the caller disconnects inside the body, which is no defect of the server."""

CLIENT_GONE = 499
"""The status of a request whose caller disconnected before the answer. Only metrics and logs show it."""

_SENT_AS = {"start": "from", "idempotency_key": "Idempotency-Key"}
"""The public names of parameters that have another name in the code."""

_LONGEST_REASON = 200


def _wrong_parameter(item: dict[str, Any]) -> str:
    name = str(item.get("key"))
    if name in RANGES:
        return out_of_range(name)
    why = str(item.get("message", ""))[:_LONGEST_REASON]
    return f"{_SENT_AS.get(name, name)} is invalid: {why} (/openapi.json lists what is allowed)"


class ErrorHandlers:
    """Answers each exception in the wording of the surface that was called."""

    def __init__(self, surfaces: Sequence[Surface]) -> None:
        self.wording = Wording(surfaces)
        self._of_surfaces: dict[int | type[Exception], Any] = {}
        for surface in surfaces:
            for kind, answer in surface.errors.items():
                self._of_surfaces[kind] = answer

    def by_type(self) -> dict[int | type[Exception], Any]:
        """Return the handler of each type of exception, for Litestar."""
        return {
            **self._of_surfaces,
            VoxgateError: self._on_gateway_error,
            HTTPException: self._on_http_error,
            Exception: self._on_unexpected,
        }

    def _response(
        self,
        request: Request[Any, Any, Any],
        status: int,
        message: str,
        code: str | None,
        headers: dict[str, str] | None = None,
    ) -> Response[bytes]:
        body = self.wording.body(request.scope["path"], status, message, code)
        return Response(body, status_code=status, headers=headers, media_type=MediaType.JSON)

    def _on_gateway_error(self, request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        """Answer an error of the gateway's own tree, or an error of a lower layer with a `code`."""
        status = status_of(error)
        if status == 500 and code_of(error) == VoxgateError.code:
            return self._on_unexpected(request, error)
        headers: dict[str, str] = {}
        if isinstance(error, TooManyRequests):
            headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
        elif status == 503:
            headers["retry-after"] = "1"
        elif status == 401:
            headers["www-authenticate"] = "Bearer"
        if status >= 500:
            log.error("request refused", code=code_of(error), error=error)
        return self._response(request, status, str(error), code_of(error), headers)

    def _on_http_error(self, request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
        """Answer an error of Litestar's: no route, a wrong method, a body above its limit, a wrong parameter."""
        if error.status_code == 500 and error.detail == _BODY_CUT:
            return error_response(CLIENT_GONE, "the client disconnected before it had sent the whole request")
        message = _WORDS.get(error.status_code, error.detail)
        if error.status_code == 413:
            limit = request.route_handler.resolve_request_max_body_size()
            message = f"the request body is too large; this address takes at most {limit} bytes"
            if request.url.path.endswith(_TAKE_JSON):
                message = f"json is invalid; max size is {(limit or 0) / 1e6:g} MB ({limit} bytes)"
        elif isinstance(error, ValidationException):
            wrong = [item for item in error.extra or () if isinstance(item, dict)]
            message = "; ".join(map(_wrong_parameter, wrong)) or error.detail
        return self._response(request, error.status_code, message, None, dict(error.headers or {}))

    def _on_unexpected(self, request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        """Answer a defect of the server: the caller gets the request id, and the log gets the traceback."""
        if getattr(error, "code", None) is not None and status_of(error) != 500:
            return self._on_gateway_error(request, error)
        log.error("unexpected error", exc_info=error)
        request_id = request.scope.get("state", {}).get("request_id", "")
        message = f"Internal error; see the server's log for request id {request_id}"
        return self._response(request, 500, message, VoxgateError.code)
