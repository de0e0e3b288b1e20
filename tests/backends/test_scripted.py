from __future__ import annotations

import pytest
from support.hosting import context

from backends.testing.conformance import check
from backends.testing.scripted import ScriptedBackend


@pytest.mark.parametrize("settings", [{}, {"concurrency": 4}, {"host": "inline", "concurrency": 4}, {"words": True}])
def test_the_scripted_backend_keeps_the_contract(settings):
    assert [finding for finding in check(ScriptedBackend, settings, context()) if not finding.ok] == []
