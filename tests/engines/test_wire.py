from __future__ import annotations

import random

from gateway.engines.wire import FrameProtocol, frame


def received(data: bytes, sizes: list[int]) -> list[bytes]:
    bodies: list[bytes] = []
    protocol = FrameProtocol(lambda body: bodies.append(bytes(body)), lambda: None)
    at = 0
    while at < len(data):
        buffer = protocol.get_buffer(-1)
        n = min(len(buffer), len(data) - at, sizes.pop() if sizes else 65_536)
        buffer[:n] = data[at : at + n]
        protocol.buffer_updated(n)
        at += n
    return bodies


def test_frames_arrive_whole_wherever_the_stream_is_cut():
    chance = random.Random(5)
    for _ in range(200):
        bodies = [
            chance.randbytes(chance.choice([0, 1, 3, 4, 5, 100, 65_000, 65_532, 65_533, 200_000])) for _ in range(5)
        ]
        data = b"".join(frame(body) for body in bodies)
        sizes = [chance.choice([1, 2, 3, 4, 5, 1000, 65_536]) for _ in range(400)]
        assert received(data, sizes) == bodies
