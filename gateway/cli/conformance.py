"""Runs the conformance kit in a child process, so that a backend that hangs, exits or crashes becomes a finding."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator

import msgspec

from backends.testing.conformance import Finding, check
from gateway.cli.installed import chosen
from gateway.engines.child import exit_reason

_CHILD = "import sys; from gateway.cli.conformance import report_checks; report_checks(sys.argv[1], int(sys.argv[2]))"
_decode = msgspec.json.Decoder(Finding | str).decode


def run_checks(name: str, timeout_s: float) -> Iterator[Finding]:
    """Check an installed backend with the kit; yields each finding when it is made.

    The backend's own output goes to standard error.

    Args:
        timeout_s: how long one check may take; after it the child is killed and the check counts as failed.
    """
    read, write = os.pipe()
    child = subprocess.Popen(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", _CHILD, name, str(write)],
        stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), pass_fds=(write,),
    )  # fmt: skip
    os.close(write)
    begun: str | None = "it can be imported"
    try:
        for line in _lines(read, timeout_s):
            message = _decode(line) if line is not None else None
            if message is None:
                yield Finding(
                    begun or "it ends", False, f"no answer within {timeout_s:g} s (--timeout gives it longer)"
                )
                return
            if isinstance(message, Finding):
                begun = None
                yield message
            else:
                begun = message or None
        status = child.wait(timeout_s)
        if begun is not None or status != 0:
            yield Finding(begun or "it ends", False, f"it ended the process: {exit_reason(status)}")
    finally:
        os.close(read)
        if child.poll() is None:
            child.kill()
            child.wait()


def report_checks(name: str, out: int) -> None:
    """Run the kit in the child and write lines of JSON to the pipe `out`: a check's name when it begins, then its
    finding."""
    backend, own, context = chosen(name)

    def report(begun_or_finding: str | Finding) -> None:
        os.write(out, msgspec.json.encode(begun_or_finding) + b"\n")

    check(backend, msgspec.to_builtins(own, enc_hook=str), context, report)
    report("")  # no check is running any more
    sys.stdout.flush()
    os._exit(0)  # without waiting for threads that an engine left behind


def _lines(read: int, timeout_s: float) -> Iterator[bytes | None]:
    """Yield lines until the writer closes the pipe; yields None and ends when a line took longer than `timeout_s`."""
    rest, deadline = b"", time.monotonic() + timeout_s
    while True:
        ready, _, _ = select.select([read], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            yield None
            return
        piece = os.read(read, 65_536)
        if not piece:
            return
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        deadline = time.monotonic() + timeout_s
