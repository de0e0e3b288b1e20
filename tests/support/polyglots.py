"""Scripted backends that speak other languages with other settings; one of them is not installed."""

from __future__ import annotations

import msgspec

from backends.interface import BackendUnavailable, Capabilities, Otherwise
from backends.testing.scripted import ScriptedBackend


class Changeable(ScriptedBackend):
    name = "changeable"

    def capabilities(self) -> Capabilities:
        other = (Otherwise("languages", "ja,fr", ("ja", "fr")),)
        return msgspec.structs.replace(super().capabilities(), otherwise=other)


class Absent(Changeable):
    name = "absent"

    def revision(self) -> str:
        raise BackendUnavailable("the package polyglot is not installed", "pip install polyglot")
