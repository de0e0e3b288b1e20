"""The text path under atheris: python atheris_text.py [-runs=N] [CORPUS]. Without atheris it replays what it knows.

`-runs=N` says how many inputs; coverage leads atheris to new ones, a seeded generator changes known ones otherwise.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

try:
    import atheris
except ImportError:
    atheris = None

if atheris is not None:
    with atheris.instrument_imports(include=["gateway.speech"]):
        from support import textpath
else:
    from support import textpath


def one_input(data: bytes) -> None:
    """Bytes as a request, and as a text of their own."""
    nth = data[0] if data else 0
    rest = data[1:]
    text = textpath.check_request(rest)
    if text is not None:
        textpath.check_text(text, nth)
    textpath.check_text(rest.decode("utf-8", "surrogateescape"), nth)


def seeds() -> list[bytes]:
    """Return the inputs the fuzzer starts from."""
    from support.hostile import FRAGMENTS, RAW_INPUTS

    fragments = [fragment.encode("utf-8", "surrogatepass") for fragment in FRAGMENTS]
    return [bytes([n % 30]) + raw for n, raw in enumerate([*RAW_INPUTS, *fragments, b"".join(fragments)])]


def replay(runs: int) -> int:
    """Every seed, then joined and damaged ones; how many."""
    known = seeds()
    for data in known:
        one_input(data)
    chance = random.Random(7)
    for _ in range(runs):
        data = bytearray(chance.choice(known) + chance.choice(known)[1:] * chance.randint(0, 3))
        for _ in range(chance.randint(0, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        one_input(bytes(data))
    return len(known) + runs


def main(arguments: list[str]) -> None:
    runs = next((int(each.removeprefix("-runs=")) for each in arguments if each.startswith("-runs=")), 1000)
    if atheris is None:
        print(f"replayed {replay(runs)} inputs; atheris is not installed")
        return
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for n, data in enumerate(seeds()):
            (Path(folder) / f"seed-{n}").write_bytes(data)
        atheris.Setup([sys.argv[0], "-max_len=4096", *arguments, folder], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
