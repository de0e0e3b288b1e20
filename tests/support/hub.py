"""A stand-in for the Hugging Face hub on loopback, with the errors of the real one.

It serves one repository like the hub: HEAD on /OWNER/NAME/resolve/REVISION/FILE returns commit, size and content hash;
big files are redirected to another path, which supports Range.
"""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "tests/chatterbox"
BIG = (".safetensors", ".pt")


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    range: str
    authorization: str


@dataclass
class Hub:
    """The files of the hub, and its faults.

    Attributes:
        token: the token a caller must send; empty allows all callers.
        gone: files that are missing.
        no_repo: answer that the repository does not exist.
        broken: answer everything with 503.
        cut_after: bytes of a file after which the connection ends, once for each entry.
        short: bytes of a file that are sent, less than announced.
        changed: files that are sent with other bytes than announced.
        gate: files that are sent only after the event is set.
    """

    folder: Path
    url: str = ""
    token: str = ""
    gone: set[str] = field(default_factory=set)
    no_repo: bool = False
    broken: bool = False
    cut_after: dict[str, list[int]] = field(default_factory=dict)
    short: dict[str, int] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    gate: dict[str, threading.Event] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def heal(self) -> None:
        """Remove all faults, and accept any token."""
        self.token, self.no_repo, self.broken = "", False, False
        for wrong in (self.gone, self.cut_after, self.short, self.changed):
            wrong.clear()

    def ranges(self, name: str) -> list[str]:
        """Return the Range of each download of a file, "" for the whole file."""
        return [one.range for one in self.asked if one.method == "GET" and one.path.endswith(f"/{name}")]


def _etag(data: bytes, big: bool) -> str:
    """Return the ETag: SHA-256 for big files, git's hash for small ones."""
    if big:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        hub, path = self.hub, self.path.partition("?")[0]
        name = path.rsplit("/", 1)[-1]
        authorization = self.headers.get("Authorization", "")
        hub.asked.append(Asked(self.command, path, self.headers.get("Range", ""), authorization))
        if hub.broken:
            return self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "")
        if path == f"/cdn/{name}":
            return self._send(name, with_body)
        if hub.no_repo or not path.startswith(f"/{REPO}/resolve/"):
            return self._refuse(HTTPStatus.NOT_FOUND, "RepoNotFound")
        if hub.token and authorization != f"Bearer {hub.token}":
            return self._refuse(HTTPStatus.UNAUTHORIZED, "RepoNotFound")
        if path.split("/")[4] not in (COMMIT, "main"):
            return self._refuse(HTTPStatus.NOT_FOUND, "RevisionNotFound")
        if name in hub.gone or not (hub.folder / name).is_file():
            return self._refuse(HTTPStatus.NOT_FOUND, "EntryNotFound")
        if not name.endswith(BIG):
            return self._send(name, with_body)
        data = (hub.folder / name).read_bytes()
        self.send_response(HTTPStatus.FOUND)
        self.send_header("Location", f"{hub.url}/cdn/{name}")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("X-Linked-Etag", f'"{_etag(data, True)}"')
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def _refuse(self, status: HTTPStatus, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, name: str, with_body: bool) -> None:
        hub = self.hub
        data = (hub.folder / name).read_bytes()
        etag = _etag(data, name.endswith(BIG))
        if name in hub.changed:
            data = bytes([data[0] ^ 1]) + data[1:]
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(HTTPStatus.PARTIAL_CONTENT if start else HTTPStatus.OK)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("Content-Length", str(len(data) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if not with_body:
            return
        if (gate := hub.gate.get(name)) is not None:
            gate.wait(60)
        end = min(len(data), hub.short.get(name, len(data)))
        if cuts := hub.cut_after.get(name):
            end = min(end, cuts.pop(0))
        try:
            self.wfile.write(data[start:end])
        except ConnectionError:
            end = 0
        self.close_connection = self.close_connection or end < len(data)


@contextmanager
def hub_of(folder: Path) -> Iterator[Hub]:
    """Run a hub with the files of `folder`, on a free port of loopback."""
    hub = Hub(folder)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        for gate in hub.gate.values():
            gate.set()
        server.shutdown()
        server.server_close()
        thread.join()
