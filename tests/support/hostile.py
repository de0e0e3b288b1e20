"""Input from hostile callers and broken programs."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("VOXGATE_FUZZ_EXAMPLES", "0"))
"""0 for a quick run; `make soak` raises it."""


def examples(quick: int) -> settings:
    """Return settings for `quick` examples, or EXAMPLES if that is more; a quick run always has the same ones."""
    return settings(
        max_examples=max(quick, EXAMPLES),
        deadline=None,
        derandomize=not EXAMPLES,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


FRAGMENTS = (
    "Hello there. ", "Dr. Who? ", "1,000 ", "3.50", "$5", "12/31/2026", "10:30", "www.a.b/c ", "a" * 70, "\n", "\n\n",
    " ", ", ", "; ", ". ", "—", "...", "***", '"', "(", ")", "[a](/b/)", "](/", "[", "<b>", "&amp;", "-->", "{", "\\",
    "\x00", "\x07", "\x1b[31m", "\x1b[", "\r", "\x0b", "\x85", "\u2028", "\u2029", "\ufeff", "\u200b", "\xad",
    "\ud83d", "\udc00", "\ud800\ud800", "\uffff", "\U0010ffff", "\ue000",
    "\u202e\u05e9\u05dc\u05d5\u05dd\u202c", "مرحبا بالعالم، ", "می‌خواهم ", "नमस्ते। ", "क्षि", "กำ", "你好。", "你好" * 20,
    "こんにちは、", "안녕하세요 ", "\u1112\u1161\u11ab", "Ελληνικά ", "Привет. ", "Հայերեն։ ", "ქართული ", "አማርኛ። ",
    "👩‍👩‍👧‍👦", "🇩🇪", "🇩", "👍🏽", "🏴\U000e0067\U000e0062\U000e007f", "\u200d", "\u200d\u200d", "\u200c", "❤️",
    "e" + "\u0301" * 40, "\u0301", "\u0323" * 90, "Z\u0351\u036b\u0343", "ﬁ", "Å", "ß", "İ", "ǆ", "½", "²", "Ⅻ",
    "٣", "𝟙",
)  # fmt: skip
"""Pieces of text that have made some program fail."""

texts: st.SearchStrategy[str] = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.text(st.characters(codec=None, exclude_categories=()), max_size=20),
        st.sampled_from(FRAGMENTS),
        st.builds(str.__mul__, st.sampled_from(FRAGMENTS), st.integers(1, 60)),
    ),
    max_size=12,
).map("".join)
"""Text of all scripts, with lone surrogates and control characters."""

numbers = st.one_of(
    st.integers(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.sampled_from([0, -1, 0.5, 2.0, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**300, 10**400]),
)
"""Numbers of every size, with NaN and infinities, which json.dumps writes as in JavaScript."""

values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)

KNOWN_KEYS = (
    "text", "format", "speed", "voice", "language", "seed", "backend", "options", "bitrate", "cache", "delivery",
    "loudness", "normalize", "strict", "input", "speeed",
)  # fmt: skip

inputs: st.SearchStrategy[dict[str, Any]] = st.builds(
    lambda text, more: {"text": text, **more},
    texts,
    st.dictionaries(st.sampled_from(KNOWN_KEYS) | texts, values, max_size=3),
)
"""Objects that are almost an `input`."""

RAW_INPUTS = (
    b"", b"null", b"[]", b"{", b'{"text"', b'{"text":"a"}', b"\xff\xfe", b'{"text":"\xff"}', b'{"text":"a\x00b"}',
    b'{"text":"\\ud83d"}', b'{"\\ud83d":1}', b'{"text":"a","text":"b"}', b"[" * 5000, b'{"a":' * 5000,
    b'{"text":"a","options":' + b'{"a":' * 40 + b"1" + b"}" * 40 + b"}", b'{"text":"a","seed":' + b"9" * 5000 + b"}",
    b'{"text":"a","speed":NaN}', b'{"text":"a","speed":1e999}', b'{"text":"a","speed":-Infinity}',
    b'{"text":"a","options":{"a":-1e400}}', '{"text":"häß"}'.encode("latin-1"), '{"text":"a"}'.encode("utf-16"),
    b'\xef\xbb\xbf{"text":"a"}', b'{"text":"a",}', b'{"text":"a"} x', b'{"text":"' + b"k" * 4000 + b'"}',
    b'{"' + b"k" * 4000 + b'":1,"text":"a"}',
)  # fmt: skip
"""Bytes that are almost the JSON of an `input`."""
