"""Checks that 16 jobs at the same time give the same bytes as one at a time."""

from __future__ import annotations

import hashlib
import itertools
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks import servers, texts
from benchmarks.report import Report, progress

FIELDS = (
    {"format": "mp3"}, {"format": "wav"}, {"format": "mp3", "speed": 1.25}, {"format": "wav", "seed": 7},
)  # fmt: skip


def main(scale: float = 1.0) -> None:
    """Measure on two gateways with empty stores."""
    report = Report("same_bytes", "Sixteen concurrent jobs beside the same jobs one after the other")
    count = max(16, round(64 * scale))
    said = list(zip(itertools.islice(texts.sentences(3), count), itertools.cycle(FIELDS), strict=False))
    outcomes = {}
    for name, at_a_time in (("one at a time", 1), ("16 at a time", 16)):
        with servers.gateway() as server, ThreadPoolExecutor(at_a_time) as pool:
            progress(name)
            began = time.monotonic()
            jobs = list(pool.map(lambda job, server=server: server.speak(job[0], **job[1]), said))
            wall_s = time.monotonic() - began
        audio_s = sum(job["output"]["duration_ms"] for job in jobs) / 1000
        hashes = [hashlib.sha256(job["output"]["audio_base64"].encode()).hexdigest() for job in jobs]
        outcomes[name] = (wall_s, audio_s, hashes)
    alone, together = outcomes["one at a time"], outcomes["16 at a time"]
    differ = sum(a != b for a, b in zip(alone[2], together[2], strict=True))
    report.table(
        ("", "jobs", "wall s", "audio s", "speed", "different bytes"),
        [
            (
                name,
                count,
                f"{wall_s:.2f}",
                f"{audio_s:.0f}",
                f"{alone[0] / wall_s:.2f}",
                differ if name != "one at a time" else "",
            )
            for name, (wall_s, audio_s, _) in outcomes.items()
        ],
    )
    report.target("jobs whose bytes differ", differ, 0)
    report.write()


if __name__ == "__main__":
    main()
