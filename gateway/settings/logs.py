"""Structured logs: one line per event, for people or as JSON, with the request id and without callers' data.

Text, audio and keys never reach a line. Fields with the names of such data are dropped, strings that look like keys are
hidden, and query strings are cut. The message of an exception is shown only if it cannot quote a caller; otherwise only
its type and traceback are. Control characters are written as escapes.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, TextIO

import structlog

from gateway.errors import InvalidInput, ModelNotInitialized, SynthesisFailed, VoxgateError, code_of
from gateway.settings.secrets import HIDDEN

PRIVATE_FIELDS = frozenset(
    {
        "text",
        "ssml",
        "input",
        "prompt",
        "utterance",
        "sentence",
        "chunk_text",
        "body",
        "raw",
        "payload",
        "output",
        "audio",
        "audio_base64",
        "pcm",
        "key",
        "api_key",
        "apikey",
        "authorization",
        "auth",
        "token",
        "hf_token",
        "secret",
        "signing_key",
        "password",
        "cookie",
        "headers",
        "query",
        "query_string",
        "params",
        "signature",
        "webhook",
    }
)
"""Names of fields that are always dropped."""

_KEY = re.compile(r"\bvg_[a-z]+_[A-Za-z0-9]+_[A-Za-z0-9_-]+|(?i:bearer)\s+\S+|\bhf_[A-Za-z0-9]{8,}")
_QUERY = re.compile(r"(/[^\s?\"']*)\?[^\s\"']+")
_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@\s]*@")
_LONGEST = 500

_SAFE = (OSError, VoxgateError, TypeError, AttributeError, NameError, ImportError, MemoryError, RecursionError)
_QUOTING = (InvalidInput, ModelNotInitialized, SynthesisFailed)
_SAFE_CODES = frozenset(
    {
        "backend_unavailable",
        "storage_full",
        "storage_read_only",
        "storage_locked",
        "storage_unavailable",
        "storage_gone",
        "storage_out_of_handles",
        "storage_damaged",
        "blob_missing",
    }
)

_NOISY = ("uvicorn.access", "httpx", "httpcore", "aiosqlite", "asyncio")


def setup_logs(level: str = "info", form: str = "console", stream: TextIO | None = None) -> None:
    """Write all log lines of this process, also those of libraries, in one format.

    Args:
        level: debug, info, warning or error.
        form: `console` for people, `json` for machines (one object per line).
        stream: the target; None is standard error.
    """
    target = stream or sys.stderr
    severity = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_private,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(severity),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(severity)
    logging.captureWarnings(True)
    for name in _NOISY:
        # Their lines hold whole URLs. The gateway writes its own line for each request.
        logging.getLogger(name).setLevel(max(severity, logging.WARNING))


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return a module's logger: `log = get_logger(__name__)`; `log.info("job finished", job_id=…, duration_ms=…)`."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(name)
    return logger


def current_request_id() -> str | None:
    """Return the id of the request that this context answers; None outside of a request."""
    found: str | None = structlog.contextvars.get_contextvars().get("request_id")
    return found


@contextlib.contextmanager
def lines_of(request_id: str | None, **fields: Any) -> Iterator[None]:
    """Give the log lines inside the block this request id and these fields, and none of the surrounding context.

    Work can outlive its request, and it can start in the context of another request.

    Args:
        request_id: None for lines without one.
    """
    outside = structlog.contextvars.get_contextvars()
    structlog.contextvars.clear_contextvars()
    known = fields if request_id is None else {"request_id": request_id, **fields}
    structlog.contextvars.bind_contextvars(**known)
    try:
        yield
    finally:
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(**outside)


def hide_private(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Remove callers' texts and keys from a log event; a structlog processor."""
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    elif isinstance(error, tuple):
        error = error[1]
    for name in [name for name in event if name.lower() in PRIVATE_FIELDS]:
        del event[name]
    for name, value in event.items():
        if not name.startswith("_"):
            event[name] = HIDDEN if name == "error" and isinstance(value, str) else _clean(value)
    if isinstance(error, BaseException):
        event["exception"] = _trace(error)
    return event


def describe_error(error: BaseException) -> str:
    """Describe an exception in one line. The message is included only if it cannot quote a caller."""
    name = type(error).__name__
    is_safe = (isinstance(error, _SAFE) and not isinstance(error, _QUOTING)) or code_of(error) in _SAFE_CODES
    return _scrub(f"{name}: {error}") if is_safe else name


def _trace(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    lines = [describe_error(error), *where]
    return "\n  ".join(lines) + (f"\ncaused by {_trace(cause)}" if cause is not None else "")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _scrub(value)
    if isinstance(value, BaseException):
        return describe_error(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping):
        return {_clean(key): _clean(inner) for key, inner in value.items() if str(key).lower() not in PRIVATE_FIELDS}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean(inner) for inner in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return _scrub(str(value))


def _scrub(line: str) -> str:
    line = _PASSWORD.sub(rf"\1{HIDDEN}@", _QUERY.sub(r"\1", _KEY.sub(HIDDEN, line))).rstrip("\n")
    shown = _printable(line[:_LONGEST])
    return shown if len(line) <= _LONGEST else f"{shown}… ({len(line)} characters)"


def _printable(line: str) -> str:
    """Replace control characters by their escapes, because they could colour, hide or forge other lines."""
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)
