"""Measures memory held in bounded stores: hot answers of long audio, streams between polls, unread webhooks."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from benchmarks import servers
from benchmarks.processes import rss_mb
from benchmarks.report import progress

COLUMNS = ("", "setting", "MB it allows", "MB the metric says", "MB the server grew by")
Row = tuple[str, str, str, str, str]
_SOUND = {"VOXGATE_BACKENDS__SCRIPTED__SECONDS_PER_CHAR": 0.1}
_LONG = "\n\n".join(f"Paragraph number {n} says something of its own, and then it ends at last." for n in range(40))


def rows(scale: float) -> Iterator[Row]:
    """Yield a row for each store."""
    yield _hits(max(10, round(200 * scale)))
    yield _streams(max(5, round(60 * scale)))
    yield _webhooks(max(4, round(32 * scale)))


def _hits(answers: int) -> Row:
    """Hold answers of 0.5 MB each, requested as JSON and as audio."""
    progress(f"{answers} hot answers of long audio")
    with servers.gateway("scripted", VOXGATE_CACHE__HOT_BYTES=16_000_000, **_SOUND) as server:
        before = rss_mb(server.pid)
        for nth in range(answers):
            text = f"This is a long answer to the question of number {nth}, and it is heard again and again."
            for _ in range(3):
                server.speak(text, format="wav")
        time.sleep(2)  # the metric is updated each second
        return _row(f"{answers} hot answers", "cache.hot_bytes", 16 * 4 / 3, server, "voxgate_hot_tier_bytes", before)


def _streams(jobs: int) -> Row:
    progress(f"{jobs} streams, one poll each")
    with servers.gateway("scripted", VOXGATE_CACHE__HOT_BYTES=0, VOXGATE_CACHE__STREAM_BYTES=16_000_000, **_SOUND) as s:
        path = f"/v2/{servers.ENDPOINT}"
        s.speak(_LONG, format="wav", delivery="url")
        ids = [s.ask("POST", f"{path}/run", _asked()) for _ in range(jobs)]
        before = rss_mb(s.pid)
        for job in ids:
            while not s.ask("GET", f"{path}/stream/{job['id']}")["stream"]:
                pass
        return _row(f"{jobs} streams", "cache.stream_bytes", 16, s, "voxgate_stream_bytes", before)


def _webhooks(jobs: int) -> Row:
    progress(f"{jobs} webhooks that nobody reads")
    settings = {"VOXGATE_CACHE__HOT_BYTES": 0, "VOXGATE_WEBHOOK_ALLOW": "127.0.0.1", **_SOUND}
    with _deaf(-(-jobs // 4)) as ports, servers.gateway("scripted", **settings) as server:
        audio = server.speak(_LONG, format="wav")["output"]["audio_base64"]
        size_mb = len(base64.b64decode(audio)) / 1e6
        del audio
        before = rss_mb(server.pid)
        for nth in range(jobs):
            asked = {**_asked("base64"), "webhook": f"http://127.0.0.1:{ports[nth % len(ports)]}/"}
            server.ask("POST", f"/v2/{servers.ENDPOINT}/run", asked)
        time.sleep(3)
        named = f"{jobs} hanging webhooks, an answer of {size_mb:.1f} MB each"
        return _row(named, "webhook_bytes", 64, server, "voxgate_webhook_bytes", before)


def _asked(delivery: str = "url") -> dict[str, object]:
    return {"input": {"text": _LONG, "format": "wav", **({"delivery": "url"} if delivery == "url" else {})}}


def _row(name: str, setting: str, allowed_mb: float, server: servers.Server, metric: str, before_mb: float) -> Row:
    told = next(line for line in server.ask("GET", "/metrics").splitlines() if line.startswith(f"{metric} "))
    grown = rss_mb(server.pid) - before_mb
    return name, setting, f"{allowed_mb:.1f}", f"{float(told.split()[1]) / 1e6:.1f}", f"{grown:.1f}"


@contextlib.contextmanager
def _deaf(number: int) -> Iterator[list[int]]:
    """Yield ports whose listeners accept connections and read nothing."""
    listeners = [socket.create_server(("127.0.0.1", 0), backlog=64) for _ in range(number)]
    taken: list[socket.socket] = []

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                taken.append(listener.accept()[0])

    threads = [threading.Thread(target=accept, args=(listener,), daemon=True) for listener in listeners]
    for thread in threads:
        thread.start()
    try:
        yield [listener.getsockname()[1] for listener in listeners]
    finally:
        for each in (*listeners, *taken):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
