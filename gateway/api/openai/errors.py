"""Errors in the form of OpenAI's API, for every path under `/v1/`."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec
from litestar import MediaType, Response

from gateway.errors import Forbidden, PayloadTooLarge, TooManyRequests, Unauthorized

PREFIX = "/v1/"

Code: TypeAlias = Literal[
    "invalid_value",
    "invalid_type",
    "missing_required_parameter",
    "unknown_parameter",
    "invalid_json",
    "invalid_api_key",
    "insufficient_permissions",
    "model_not_found",
    "unknown_url",
    "method_not_supported",
    "rate_limit_exceeded",
]

CODES: dict[Code, tuple[int, str]] = {
    "invalid_value": (400, "The value of `param` is not allowed, or not with this model."),
    "invalid_type": (400, "`param` has the wrong JSON type."),
    "missing_required_parameter": (400, "`param` is missing."),
    "unknown_parameter": (400, "`param` is unknown; the message names the nearest known parameter."),
    "invalid_json": (400, "The body is not JSON."),
    "invalid_api_key": (401, "The key is missing, unknown, expired or revoked."),
    "insufficient_permissions": (403, "The key lacks the scope `speak`."),
    "model_not_found": (404, "No endpoint and no backend has the name in `model`."),
    "unknown_url": (404, "There is nothing at this address."),
    "method_not_supported": (405, "The address needs another method."),
    "rate_limit_exceeded": (
        429,
        "A limit of the key or of the endpoint is reached; `Retry-After` gives the time to wait.",
    ),
}
"""The codes that only this API has: OpenAI's own where there is one. All others come from `gateway.errors`."""


class OpenAIError(msgspec.Struct, frozen=True):
    """An error. `param` names the field at fault, and `code` names the problem for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIErrorAnswer(msgspec.Struct, frozen=True):
    """The reason why a request was refused or failed."""

    error: OpenAIError


class Refused(Exception):
    """The request is not valid for this API.

    Args:
        param: the field at fault.
        code: names the problem and decides the status.
    """

    def __init__(self, message: str, param: str | None = None, code: Code = "invalid_value") -> None:
        super().__init__(message)
        self.param = param
        self.refusal = code
        self.status, _ = CODES[code]


RENAMED: dict[str, Code] = {
    Unauthorized.code: "invalid_api_key",
    Forbidden.code: "insufficient_permissions",
    TooManyRequests.code: "rate_limit_exceeded",
}
"""OpenAI's codes for errors of the gateway."""

_OF_STATUS = {404: "unknown_url", 405: "method_not_supported", 413: PayloadTooLarge.code}
"""The codes of errors that Litestar answers before the gateway's own code runs."""

_UNAUTHORIZED = (
    "the API key is missing, unknown, expired or revoked; send a key of this server (`voxgate keys create` makes one) "
    "as Authorization: Bearer KEY"
)
"""The message of a 401 here. RunPod's API has only the word `Unauthorized`."""


def error_of(status: int, message: str, code: str | None = None, param: str | None = None) -> OpenAIError:
    """Build the error. Its `type` follows from the status."""
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    if code == Unauthorized.code:
        message = _UNAUTHORIZED
    code = _OF_STATUS.get(status) if code is None else RENAMED.get(code, code)
    return OpenAIError(message, kind, param, code)


def error_answer(status: int, message: str, code: str | None = None, param: str | None = None) -> OpenAIErrorAnswer:
    """Build the body of an error."""
    return OpenAIErrorAnswer(error_of(status, message, code, param))


def openai_error(
    status: int,
    message: str,
    code: str | None = None,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response[bytes]:
    """Answer with an error."""
    answer = error_answer(status, message, code, param)
    return Response(msgspec.json.encode(answer), status_code=status, headers=headers, media_type=MediaType.JSON)
