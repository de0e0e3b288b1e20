from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from gateway.errors import InvalidInput, Unavailable
from gateway.settings.logs import PRIVATE_FIELDS, current_request_id, get_logger, lines_of, setup_logs

SAID = "The quick brown fox"
KEY = "vg_prod_0123456789abcdef_c2VjcmV0LXNlY3JldC1zZWNyZXQ"


@pytest.fixture(params=["json", "console"])
def lines(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    setup_logs("debug", request.param, stream)
    yield stream
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def records() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    setup_logs("info", "json", stream)
    yield stream
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def _read(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_no_text_audio_or_key_appears_in_a_line(lines: io.StringIO) -> None:
    log = get_logger("test")
    for field in PRIVATE_FIELDS:
        log.info("asked", **{field: SAID, field.upper(): SAID})
    log.info("asked", request={"input": {"text": SAID}}, more=[{"text": SAID}], pcm_part=SAID.encode())
    log.info(f"key {KEY} used", used=KEY, header=f"Bearer {SAID.split()[0]}", nested={"deep": [KEY]})
    log.info("GET", path=f"/audio/x?text={SAID.replace(' ', '+')}&sig={KEY}")
    log.error("failed", error=f"nothing to say in {SAID!r}")
    for error in (ValueError(SAID), InvalidInput(SAID), KeyError(SAID)):
        try:
            raise error
        except Exception as caught:
            log.exception("failed")
            log.error("failed", error=caught)
            logging.getLogger("library").exception("failed with %s", KEY)
    written = lines.getvalue()
    assert written.count("failed") >= 10
    assert "quick" not in written
    assert "The" not in written
    assert "c2VjcmV0" not in written


def test_what_an_operator_needs_of_an_exception_is_kept(records: io.StringIO) -> None:
    log = get_logger("test")
    try:
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise Unavailable("the disk is full; free some space") from error
    except Unavailable:
        log.exception("cannot store")
    (line,) = _read(records)
    assert line["exception"].startswith("Unavailable: the disk is full; free some space")
    assert "test_logs.py" in line["exception"]
    assert "caused by OSError: [Errno 28] No space left on device" in line["exception"]


def test_lines_inside_a_request_carry_its_id(records: io.StringIO) -> None:
    log = get_logger("test")
    with lines_of("abc-1", tenant="acme"):
        log.info("inside", job_id="j1", duration_ms=12)
        logging.getLogger("library").info("from a library")
    log.info("outside")
    inside, library, outside = _read(records)
    assert inside["event"] == "inside"
    assert (inside["request_id"], inside["tenant"], inside["job_id"], inside["duration_ms"]) == (
        "abc-1",
        "acme",
        "j1",
        12,
    )
    assert inside["level"] == "info"
    assert inside["timestamp"].endswith("Z")
    assert library["request_id"] == "abc-1"
    assert "request_id" not in outside


def test_work_begun_in_the_middle_of_another_request_has_nothing_of_it_in_its_lines(records: io.StringIO) -> None:
    log = get_logger("test")
    with lines_of("other", tenant="acme"):
        with lines_of("own"):
            log.info("of a request")
        with lines_of(None, job_id="j1"):
            log.info("of none")
            assert current_request_id() is None
        assert current_request_id() == "other"
        log.info("of the other again")
    own, none, other = [
        {name: line[name] for name in ("request_id", "tenant", "job_id") if name in line} for line in _read(records)
    ]
    assert (own, none, other) == (
        {"request_id": "own"},
        {"job_id": "j1"},
        {"request_id": "other", "tenant": "acme"},
    )


def test_lines_below_the_level_and_access_lines_of_libraries_are_not_written(records: io.StringIO) -> None:
    get_logger("test").debug("detail")
    logging.getLogger("uvicorn.access").info("GET /status?text=x")
    logging.getLogger("httpx").info("HTTP Request: POST https://hook.example/secret")
    assert records.getvalue() == ""


FORGING = (
    "/v2/\x1b[31mred/run", "/a\x00b", "/a\nGET /forged", "/a\r\x85b", "/\x9b31m", "/\u202egnp.exe", "/a\u2028b", "\x7f",
)  # fmt: skip


@pytest.mark.parametrize("sent", FORGING)
def test_control_characters_are_written_as_escapes(lines: io.StringIO, sent: str) -> None:
    log = get_logger("test")
    log.info("refused", path=sent, nested={sent: [sent]})
    logging.getLogger("library").warning("about %s", sent)
    try:
        raise OSError(f"no file {sent}")
    except OSError:
        log.exception("failed")
    plain = lines.getvalue()
    assert not [each for each in plain if not each.isprintable() and each != "\n"]
    assert "forged" not in [line.split()[0] for line in plain.splitlines() if line.split()]
    assert ascii(sent)[2:4] in plain
