"""Errors in the form OpenAI's clients know, for every address under `/v1/`."""

from __future__ import annotations

import msgspec
from litestar import MediaType, Response

PREFIX = "/v1/"


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
        code: OpenAI's where it has one.
    """

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_value", status: int = 400) -> None:
        super().__init__(message)
        self.param = param
        self.refusal = code
        self.status = status


_OPENAI_CODES = {
    "unauthorized": "invalid_api_key",
    "forbidden": "insufficient_permissions",
    "too_many_requests": "rate_limit_exceeded",
}
"""What OpenAI calls errors of ours."""

_OF_STATUS = {404: "unknown_url", 405: "method_not_supported"}
"""Codes of what the server refuses before anything of ours is asked."""


def speaks_openai(path: str) -> bool:
    """Whether what answers at this path is OpenAI's API."""
    return path.startswith(PREFIX)


def error_of(status: int, message: str, code: str | None = None, param: str | None = None) -> OpenAIError:
    """The error as it is told; `type` follows from the status."""
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    code = _OF_STATUS.get(status) if code is None else _OPENAI_CODES.get(code, code)
    return OpenAIError(message, kind, param, code)


def openai_error(
    status: int,
    message: str,
    code: str | None = None,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response[bytes]:
    """One error as it goes out."""
    answer = OpenAIErrorAnswer(error_of(status, message, code, param))
    return Response(msgspec.json.encode(answer), status_code=status, headers=headers, media_type=MediaType.JSON)
