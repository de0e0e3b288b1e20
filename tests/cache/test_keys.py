from __future__ import annotations

import msgspec

from gateway.cache.keys import Recipe, Source, cache_key, take_key

SOURCE = Source("tenant", "hibari", "r1", "v1", "en", b"{}")
RECIPE = Recipe("Hello.", 0, "p1", (40, 40, 280, "chars"), 1.0, None, "mp3", "lame-5", 64)


def test_everything_that_shapes_the_sound_changes_the_key() -> None:
    keys = {cache_key(SOURCE, RECIPE)}
    for field, other in {
        "scope": "shared",
        "backend": "b",
        "revision": "r2",
        "voice_hash": "v2",
        "language": "de",
        "options": b'{"a":1}',
    }.items():
        keys.add(cache_key(msgspec.structs.replace(SOURCE, **{field: other}), RECIPE))
    for field, value in {
        "text": "Hello!",
        "seed": 1,
        "planner": "p2",
        "chunk_rule": (40, 40, 100, "chars"),
        "speed": 1.5,
        "loudness": -20.0,
        "format": "wav",
        "encoder": "lame-2",
        "bitrate": 96,
    }.items():
        keys.add(cache_key(SOURCE, msgspec.structs.replace(RECIPE, **{field: value})))
    assert len(keys) == 1 + 6 + 9


def test_equal_requests_have_equal_keys_and_takes_are_not_finished_audio() -> None:
    assert cache_key(SOURCE, RECIPE) == cache_key(msgspec.structs.replace(SOURCE), msgspec.structs.replace(RECIPE))
    assert take_key(SOURCE, "Hello.", None, 0) != cache_key(SOURCE, RECIPE)
    assert take_key(SOURCE, "Hello.", None, 0) != take_key(SOURCE, "Hello.", None, 1)
