from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest

from backends.testing.scripted import ScriptedOptions
from gateway.settings.words import explain, fault, in_words


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    ttl: Annotated[int, msgspec.Meta(ge=1)] | None = None
    tags: tuple[str, ...] = ()


class Outer(msgspec.Struct):
    name: str
    inner: Inner | None = None
    kinds: list[Inner] = []


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ({"pcm": "tnoe"}, ScriptedOptions, "got 'tnoe', did you mean 'tone'?"),
        ({"pcm": "tnoe"}, ScriptedOptions, "pcm must be one of tone, silence, nan, noise"),
        ({"pcm": 3}, ScriptedOptions, "pcm must be one of tone, silence"),
        ({"takes": ["tone", "tnoe"]}, ScriptedOptions, "takes[1] must be one of tone, silence"),
        ({"takes": "tone"}, ScriptedOptions, "takes must be a list of names out of tone, silence"),
        ({"delay_s": "1"}, ScriptedOptions, "delay_s must be a number, got text"),
        ({"hang": 1}, ScriptedOptions, "hang must be true or false, got an integer"),
        ({"fail": []}, ScriptedOptions, "fail must be true or false or text, got a list"),
        ([], Outer, "it must be an object, got a list"),
        ({}, Outer, "name is missing"),
        ({"name": "a", "inner": {"ttl": "soon"}}, Outer, "inner.ttl must be an integer of at least 1, got text"),
        ({"name": "a", "inner": {"ttl": 0}}, Outer, "inner.ttl must be an integer of at least 1"),
        ({"name": "a", "inner": []}, Outer, "inner must be an object, got a list"),
        ({"name": "a", "inner": {"tll": 1}}, Outer, "unknown key 'tll' in inner: did you mean 'ttl'? Known: ttl, tags"),
        ({"name": "a", "kinds": [{"tags": [1]}]}, Outer, "kinds[0].tags[0] must be text, got an integer"),
    ],
)
def test_what_is_wrong_is_said_in_words(value: Any, kind: Any, words: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(msgspec.json.encode(value), type=kind)
    assert words in explain(caught.value, kind)


def test_a_value_that_is_at_hand_is_shown() -> None:
    given = {"name": "a", "inner": {"ttl": "soon", "tags": [{}]}}
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(given, Outer)
    wrong = fault(caught.value, Outer, given)
    assert (wrong.field, wrong.kind) == ("inner.ttl", "type")
    assert wrong.message == 'inner.ttl must be an integer of at least 1, got "soon"'


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] | None, "a number above 0.0 and at most 1.0"),
        (Literal["", "on"], 'one of "", on'),
        (int | None, "an integer"),
        (tuple[int, ...], "a list of integers"),
        (dict[str, Any], "a table"),
        (Annotated[float, msgspec.Meta(ge=0.0, le=1.0)], "a number between 0.0 and 1.0"),
        (Annotated[str, msgspec.Meta(max_length=9, extra={"words": "a name"})], "a name of at most 9 characters"),
    ],
)
def test_a_type_is_said_in_words(annotation: Any, words: str) -> None:
    assert in_words(annotation) == words
