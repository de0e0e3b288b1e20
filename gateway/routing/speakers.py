"""Who could speak what a backend cannot: loaded, with another setting, or once installed. For error messages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Protocol

from backends.interface import Capabilities
from gateway.engines.discovery import BackendInfo
from gateway.settings.origins import env_name
from gateway.speech.decode import language_matches
from gateway.speech.text.letters import script_of, scripts_needed

_MOST_TAGS = 6


class Loaded(Protocol):
    """A backend that is loaded."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""


class Speakers:
    """The backends of this machine as far as languages go.

    Args:
        loaded: those that may speak.
        found: every registered one; of those that are missing something, what they would speak is told with the
            command that installs it.
    """

    def __init__(self, loaded: Iterable[Loaded] = (), found: Iterable[BackendInfo] = ()) -> None:
        self._loaded = tuple(loaded)
        self._missing = tuple(info for info in found if info.state == "missing" and info.enabled)

    def known(self) -> str:
        """What each loaded backend speaks, in words."""
        spoken = ((backend.name, backend.capabilities.languages) for backend in self._loaded)
        return "; ".join(f"{name} speaks {'any' if '*' in tags else ', '.join(tags)}" for name, tags in spoken)

    def of_language(self, tag: str, but: str) -> str:
        """Who speaks this language beside the backend `but`, in words."""
        return self._told(lambda languages: [have for have in languages if language_matches(tag, have)], {but}, "")

    def of_text(self, text: str, but: Collection[str]) -> str:
        """Who speaks the scripts of this text beside the backends `but`, in words; "" if it is all in Latin letters."""
        needed = scripts_needed(text)

        def speak(languages: Iterable[str]) -> list[str]:
            return [have for have in languages if have == "*" or all(script_of(have) in one for one in needed)]

        return self._told(speak, but, " and 'language'") if needed else ""

    def _told(self, speak: Callable[[Iterable[str]], list[str]], but: Collection[str], also: str) -> str:
        """Args: speak: those of some languages that will do."""
        ways = [*self._of_loaded(speak, but, also), *self._of_missing(speak)]
        words = "; ".join(ways) or "no backend that is loaded or could be installed here can"
        return f"{words}. `voxgate backends` lists all"

    def _of_loaded(self, speak: Callable[[Iterable[str]], list[str]], but: Collection[str], also: str) -> Iterator[str]:
        for backend in self._loaded:
            if backend.name not in but and (tags := speak(backend.capabilities.languages)):
                yield f"{backend.name} can{_listed(tags) if also else ''}: set 'backend'{also}"
            else:
                yield from (
                    f"{backend.name} can with {setting}{_listed(tags) if also else ''}"
                    for setting, tags in _otherwise(backend.name, backend.capabilities, speak)
                )

    def _of_missing(self, speak: Callable[[Iterable[str]], list[str]]) -> Iterator[str]:
        for info in self._missing:
            if info.capabilities is None:
                continue
            if speak(info.capabilities.languages):
                yield f"{info.name} can once it is installed: {info.cure}"
            else:
                yield from (
                    f"{info.name} can with {setting} once it is installed: {info.cure}"
                    for setting, _ in _otherwise(info.name, info.capabilities, speak)
                )


def _otherwise(
    name: str, capabilities: Capabilities, speak: Callable[[Iterable[str]], list[str]]
) -> Iterator[tuple[str, list[str]]]:
    for other in capabilities.otherwise:
        if tags := speak(other.languages):
            yield f"{env_name(f'backends.{name}.{other.key}')}={other.value}", tags


def _listed(tags: list[str]) -> str:
    """` (ja, zh)`; nothing for a backend that speaks any language."""
    return "" if "*" in tags else f" ({', '.join(tags[:_MOST_TAGS])})"
