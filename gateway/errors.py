"""The error tree: each class states the code and the HTTP status of an error on every surface.

`code` names the error in JSON, logs and metrics; `status` is its HTTP status if the error is the answer (errors of a
job's *input* end as a FAILED job with HTTP 200, as RunPod's clients expect). A message says what is wrong, what is
allowed and what to do. `backends` and `storage` have their own errors, each with a `code`; `status_of` gives every code
its HTTP status.
"""

from __future__ import annotations

from typing import ClassVar


class VoxgateError(Exception):
    """The gateway itself failed; the log has the details under the request's id.

    Also the base class of all errors of the gateway; each of them has its own code.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500


class InvalidInput(VoxgateError):
    """The request cannot be done as asked; it ends as a FAILED job."""

    code = "invalid_input"
    status = 400


class UnsupportedText(InvalidInput):
    """The backend cannot speak this language or script."""

    code = "unsupported_text"


class SynthesisFailed(VoxgateError):
    """The engine failed; trying again may help."""

    code = "synthesis_failed"
    status = 502


class ReadingFailed(VoxgateError):
    """The process that read or planned a long text died, or could not be started."""

    code = "reading_failed"
    status = 503


class ModelNotInitialized(VoxgateError):
    """No eligible backend is installed or could load its model. The message begins as in RunPod's Chatterbox worker."""

    code = "model_not_initialized"
    status = 503

    def __init__(self, reason: str) -> None:
        super().__init__(f"Model not initialized: {reason}")


class BadRequest(VoxgateError):
    """The envelope itself is wrong: not JSON, no `input`, a `wait` out of range."""

    code = "bad_request"
    status = 400


class Unauthorized(VoxgateError):
    """The key is missing, unknown, expired or revoked."""

    code = "unauthorized"
    status = 401

    def __init__(self, message: str = "Unauthorized") -> None:
        super().__init__(message)


class Forbidden(VoxgateError):
    """The key is valid, but its scopes do not allow this."""

    code = "forbidden"
    status = 403


class NotFound(VoxgateError):
    """The endpoint, job, voice or audio does not exist, or belongs to another tenant."""

    code = "not_found"
    status = 404


class Conflict(VoxgateError):
    """The idempotency key was used with another body, or the present state does not allow this."""

    code = "conflict"
    status = 409


class PayloadTooLarge(VoxgateError):
    """The request body exceeds its limit."""

    code = "payload_too_large"
    status = 413


class TooManyRequests(VoxgateError):
    """A limit of the key or of the endpoint is reached, or the queue is full.

    Args:
        retry_after_s: seconds after which trying again can help.
    """

    code = "too_many_requests"
    status = 429

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(VoxgateError):
    """The gateway itself cannot do this now: it is stopping, its disk is full, its database is locked."""

    code = "unavailable"
    status = 503


class SettingsError(VoxgateError):
    """A setting is wrong: one line that names the variable, its value and the cure."""

    code = "settings"


_FOREIGN_STATUS = {
    "backend_unavailable": 503,
    "storage_full": 503,
    "storage_read_only": 503,
    "storage_locked": 503,
    "storage_unavailable": 503,
    "storage_gone": 503,
    "storage_out_of_handles": 503,
    "storage_damaged": 503,
    "blob_missing": 404,
}

JOB_CODES = {
    "timed_out": (504, "`policy.executionTimeout` ran out, or no chunk was finished for too long; `/retry` resumes."),
    "ttl_expired": (504, "The job did not end within `policy.ttl` of its submission."),
    "worker_lost": (
        502,
        "Five servers in a row ended or stopped answering while they ran the job, the last four nothing else.",
    ),
    "cancelled": (503, "The job was cancelled while the request waited for it."),
}
"""Codes of jobs that ended without an error of the tree: the HTTP status of the answer, and the cause."""


def code_of(error: BaseException) -> str:
    """Return the error's code in JSON, logs and metrics."""
    return str(getattr(error, "code", VoxgateError.code))


def status_of(error: BaseException) -> int:
    """Return the HTTP status for this error."""
    if isinstance(error, VoxgateError):
        return error.status
    return _FOREIGN_STATUS.get(code_of(error), 500)


def status_of_code(code: str) -> int:
    """Return the HTTP status of the errors, and of the ends of jobs, with this code."""
    classes = [VoxgateError]
    for each in classes:
        if each.code == code:
            return each.status
        classes += each.__subclasses__()
    if code in JOB_CODES:
        return JOB_CODES[code][0]
    return _FOREIGN_STATUS.get(code, 500)
