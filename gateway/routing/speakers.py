"""Finds backends that speak a language or script another backend cannot, for error messages.

They may be loaded, need another setting, or need to be installed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Protocol, TypeAlias

from backends.interface import Capabilities
from gateway.engines.discovery import BackendInfo
from gateway.settings.origins import env_name
from gateway.speech.decode import language_matches
from gateway.speech.text.letters import script_of, scripts_needed

_MOST_TAGS = 6

Matching: TypeAlias = Callable[[Iterable[str]], list[str]]
"""Returns those of some language tags that can be used for a text or a language."""


class Loaded(Protocol):
    """The part of a loaded backend that is needed here."""

    @property
    def name(self) -> str:
        """The backend's name."""

    @property
    def capabilities(self) -> Capabilities:
        """The backend's capabilities."""


class Speakers:
    """The languages of the backends of this machine.

    Args:
        loaded: the backends that may speak.
        found: every registered backend; for those that need to be installed, messages give the command.
    """

    def __init__(self, loaded: Iterable[Loaded] = (), found: Iterable[BackendInfo] = ()) -> None:
        self._loaded = tuple(loaded)
        self._missing = tuple(info for info in found if info.state == "missing" and info.enabled)

    def known(self) -> str:
        """Return a message with the languages of each loaded backend."""
        spoken = ((backend.name, backend.capabilities.languages) for backend in self._loaded)
        return "; ".join(f"{name} speaks {'any' if '*' in tags else ', '.join(tags)}" for name, tags in spoken)

    def of_language(self, tag: str, excluded: str) -> str:
        """Return a message with the backends that speak this language, without the backend `excluded`."""

        def matching(languages: Iterable[str]) -> list[str]:
            return [have for have in languages if language_matches(tag, have)]

        return self._message(matching, {excluded}, "")

    def of_text(self, text: str, excluded: Collection[str]) -> str:
        """Return a message with the backends that speak the scripts of this text, without those in `excluded`.

        Returns "" if all letters are Latin.
        """
        needed = scripts_needed(text)

        def matching(languages: Iterable[str]) -> list[str]:
            return [have for have in languages if have == "*" or all(script_of(have) in one for one in needed)]

        return self._message(matching, excluded, " and 'language'") if needed else ""

    def _message(self, matching: Matching, excluded: Collection[str], also: str) -> str:

        ways = [*self._of_loaded(matching, excluded, also), *self._of_missing(matching)]
        words = "; ".join(ways) or "no backend that is loaded or could be installed here can"
        return f"{words}. `voxgate backends` lists all"

    def _of_loaded(self, matching: Matching, excluded: Collection[str], also: str) -> Iterator[str]:
        for backend in self._loaded:
            if backend.name not in excluded and (tags := matching(backend.capabilities.languages)):
                yield f"{backend.name} can{_listed(tags) if also else ''}: set 'backend'{also}"
            else:
                yield from (
                    f"{backend.name} can with {setting}{_listed(tags) if also else ''}"
                    for setting, tags in _otherwise(backend.name, backend.capabilities, matching)
                )

    def _of_missing(self, matching: Matching) -> Iterator[str]:
        for info in self._missing:
            if info.capabilities is None:
                continue
            if matching(info.capabilities.languages):
                yield f"{info.name} can once it is installed: {info.cure}"
            else:
                yield from (
                    f"{info.name} can with {setting} once it is installed: {info.cure}"
                    for setting, _ in _otherwise(info.name, info.capabilities, matching)
                )


def _otherwise(name: str, capabilities: Capabilities, matching: Matching) -> Iterator[tuple[str, list[str]]]:
    for other in capabilities.otherwise:
        if tags := matching(other.languages):
            yield f"{env_name(f'backends.{name}.{other.key}')}={other.value}", tags


def _listed(tags: list[str]) -> str:
    """Return ` (ja, zh)`; "" for a backend that speaks any language."""
    return "" if "*" in tags else f" ({', '.join(tags[:_MOST_TAGS])})"
