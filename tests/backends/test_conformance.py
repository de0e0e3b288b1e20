"""The kit must find what it is there to find: each backend here breaks one rule."""

from __future__ import annotations

import pytest
from support.broken_backends import BROKEN
from support.hosting import context

from backends.testing.conformance import check


@pytest.mark.parametrize(("backend", "rule", "word"), BROKEN, ids=lambda value: getattr(value, "__name__", None))
def test_a_broken_rule_is_found_and_named(backend, rule: str, word: str):
    failed = [finding for finding in check(backend, {}, context()) if not finding.ok]
    assert failed[0].check == rule
    assert word in failed[0].detail
