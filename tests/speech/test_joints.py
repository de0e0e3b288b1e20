"""A sentence does not end within a word, so no space comes into one."""

from __future__ import annotations

import pytest

from backends.interface import ChunkRule, Limit
from gateway.speech.text.plan import make_plan
from gateway.speech.text.segmenter import sentences

WORDS = [
    "window.__x", "System.Out.Println", "Node.JS", "Example.Com/Path", "v1.2.Beta", "file.TXT", "a.m.Then", "foo!(bar)",
    "https://a.example/Foo.Bar?X.Y=1", "John.Smith@Example.com", "wait?_what", "x=y.Z", "#1.Two", "obj.$Name",
]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("rule", [ChunkRule(1, 40, Limit(280)), ChunkRule(40, 240, Limit(300))], ids=["short", "long"])
def test_what_is_spoken_and_shown_has_every_word_as_it_was_written(word: str, rule: ChunkRule) -> None:
    text = f"The first sentence. Then there is {word} in the second one. And a third sentence follows it."
    shown = " ".join(speak.shown for speak in make_plan(text, "en", rule).speaks)
    assert shown == text


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("He left.Then came back.", ["He left.", "Then came back."]),
        ("Was it?Yes, it was.", ["Was it?", "Yes, it was."]),
        ("“No!”She left.", ["“No!”", "She left."]),
        ("Er kam.Änderungen folgten.", ["Er kam.", "Änderungen folgten."]),
        ("I do.I am.", ["I do.", "I am."]),
        ("吾輩は猫である。名前はまだ無い。", ["吾輩は猫である。", "名前はまだ無い。"]),
        ("英文.中文也可以。And this.", ["英文.", "中文也可以。", "And this."]),
    ],
)
def test_a_sentence_ends_where_only_its_space_was_forgotten_or_its_script_has_none(text: str, ends: list[str]) -> None:
    assert list(sentences(text, "en")) == ends


def test_a_text_of_joints_without_any_space_is_planned_whole() -> None:
    text = "Foo.Bar_1!Baz" * 500
    plan = make_plan(text, "en", ChunkRule(1, 40, Limit(280)))
    assert "".join(speak.shown for speak in plan.speaks) == text
