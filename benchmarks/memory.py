"""Measures the server's memory: after thousands of jobs, while it speaks a megabyte of text, and in bounded stores."""

from __future__ import annotations

import asyncio
import threading
import time

from benchmarks import held, servers, texts
from benchmarks.processes import family, rss_mb
from benchmarks.report import Report, progress

SETTINGS = {"VOXGATE_CACHE__HOT_BYTES": 8_000_000}


def main(scale: float = 1.0) -> None:
    """Measure."""
    report = Report("memory", "Resident memory of the server")
    step = max(100, round(1000 * scale))
    with servers.gateway("scripted", **SETTINGS) as server:
        rows, marks = [], []
        rows.append(("before any job", f"{rss_mb(server.pid):.1f}", ""))
        source = texts.short_sentences(7)
        for nth in range(1, 4):
            progress(f"{nth * step} jobs")
            began = time.monotonic()
            asyncio.run(_speak_many(server, [next(source) for _ in range(step)]))
            marks.append(rss_mb(server.pid))
            rate = step / (time.monotonic() - began)
            rows.append(
                (f"after {nth * step:,} jobs ({rate:.0f}/s)", f"{marks[-1]:.1f}", f"{marks[-1] / marks[0]:.3f}")
            )
    report.table(("", "MB", f"of that after {step:,}"), rows, "Uncached jobs, 16 at a time; in-memory tier of 8 MB.")
    report.target(f"memory after {3 * step:,} jobs, of that after {step:,}", marks[-1] / marks[0], 1.05)

    with servers.gateway("scripted", VOXGATE_BACKENDS__SCRIPTED__SECONDS_PER_CHAR=0.005, **SETTINGS) as server:
        short, long = texts.story(round(100_000 * scale)), texts.story(round(1_000_000 * scale), 2)
        rows = []
        peaks, before = [], rss_mb(server.pid)
        for name, text in (("a tenth of it", short), ("the long text", long)):
            progress(f"a text of {len(text):,} characters")
            began = time.monotonic()
            with _Peak(server.pid) as peak:
                job = server.speak(text, format="mp3", delivery="url")
            peaks.append(peak.rss_mb)
            rows.append(
                (
                    f"{name}: {len(text):,} characters, {job['output']['chunks_processed']:,} chunks",
                    f"{peak.before_mb:.1f}",
                    f"{peak.rss_mb:.1f}",
                    f"{peak.workers_mb:.1f}",
                    f"{time.monotonic() - began:.1f}",
                )
            )
    report.table(("", "before MB", "peak MB", "peak of a worker MB", "seconds"), rows)
    report.target("MB the server grows by while it speaks the long text", peaks[1] - before, 100)
    report.table(held.COLUMNS, held.rows(scale), "Each on a server of its own, before and after.")
    report.write()


async def _speak_many(server: servers.Server, sentences: list[str]) -> None:
    queue = list(reversed(sentences))

    def work() -> None:
        while queue:
            server.speak(queue.pop(), format="mp3")

    await asyncio.gather(*(asyncio.to_thread(work) for _ in range(16)))


class _Peak:
    """Samples the memory of a process and its children every 20 ms and keeps the peaks."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.before_mb = self.rss_mb = rss_mb(pid)
        self.workers_mb = 0.0

    def __enter__(self) -> _Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        workers = [pid for pid in family(self._pid) if pid != self._pid]
        while not self._over.wait(0.02):
            self.rss_mb = max(self.rss_mb, rss_mb(self._pid))
            self.workers_mb = max([self.workers_mb, *(rss_mb(pid) for pid in workers)])


if __name__ == "__main__":
    main()
