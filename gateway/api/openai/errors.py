"""Errors in the form OpenAI's clients know, for every address under `/v1/`."""

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
    "invalid_value": (400, "`param` has a value that it cannot have, or not with this model."),
    "invalid_type": (400, "`param` is of another JSON type than it should be."),
    "missing_required_parameter": (400, "`param` is not there."),
    "unknown_parameter": (400, "There is no `param`; the message has the nearest that there is."),
    "invalid_json": (400, "The body is no JSON."),
    "invalid_api_key": (401, "No key, an unknown one, an expired or a revoked one."),
    "insufficient_permissions": (403, "The key lacks the scope `speak`."),
    "model_not_found": (404, "Neither an endpoint nor a backend has the name in `model`."),
    "unknown_url": (404, "Nothing is served at this address."),
    "method_not_supported": (405, "The address is asked with another method."),
    "rate_limit_exceeded": (
        429,
        "A limit of the key or of the endpoint is reached; `Retry-After` says when to come back.",
    ),
}
"""The codes that only this API has, OpenAI's own where it has one. All others are those of `gateway.errors`."""


class OpenAIError(msgspec.Struct, frozen=True):
    """What was wrong: `param` names the field at fault, `code` says it for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIErrorAnswer(msgspec.Struct, frozen=True):
    """Why a request was refused or failed."""

    error: OpenAIError


class Refused(Exception):
    """A request that cannot be done as asked.

    Args:
        param: the field at fault.
        code: what is wrong, which also gives the status.
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
"""What OpenAI calls errors of ours."""

_OF_STATUS = {404: "unknown_url", 405: "method_not_supported", 413: PayloadTooLarge.code}
"""Codes of what the server refuses before anything of ours is asked."""

_UNAUTHORIZED = (
    "the API key is missing, unknown, expired or revoked; send a key of this server (`voxgate keys create` makes one) "
    "as Authorization: Bearer KEY"
)
"""RunPod's clients get its one word; here nothing speaks against a sentence."""


def error_of(status: int, message: str, code: str | None = None, param: str | None = None) -> OpenAIError:
    """The error as it is told; `type` follows from the status."""
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    if code == Unauthorized.code:
        message = _UNAUTHORIZED
    code = _OF_STATUS.get(status) if code is None else RENAMED.get(code, code)
    return OpenAIError(message, kind, param, code)


def error_answer(status: int, message: str, code: str | None = None, param: str | None = None) -> OpenAIErrorAnswer:
    """The body of an error."""
    return OpenAIErrorAnswer(error_of(status, message, code, param))


def openai_error(
    status: int,
    message: str,
    code: str | None = None,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response[bytes]:
    """One error as it goes out."""
    answer = error_answer(status, message, code, param)
    return Response(msgspec.json.encode(answer), status_code=status, headers=headers, media_type=MediaType.JSON)
