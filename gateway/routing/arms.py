"""Resolves a request for one backend.

The result is an arm: the backend with voice, language, options and all else that a cache key needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from backends.interface import Capabilities, Voice
from gateway.errors import InvalidInput
from gateway.routing.speakers import Speakers
from gateway.settings.words import explain, meant
from gateway.speech.decode import language_matches
from gateway.speech.request import SpeechRequest
from gateway.speech.text.plan import Speak


class ArmBackend(Protocol):
    """The part of a backend that routing needs."""

    @property
    def name(self) -> str:
        """The backend's name."""

    @property
    def capabilities(self) -> Capabilities:
        """The backend's capabilities."""

    @property
    def voices(self) -> tuple[Voice, ...]:
        """The backend's voices; the first is its default."""

    @property
    def revision(self) -> str:
        """The backend's revision; part of every cache key."""

    @property
    def options_type(self) -> type[msgspec.Struct]:
        """The type of `input.options`."""


class ArmVoice(msgspec.Struct, frozen=True):
    """A voice of a backend and the language it speaks in, as a segment names them; fields as in `Arm`."""

    voice: Voice
    language: str
    uploaded: bool = False


class Arm(msgspec.Struct, frozen=True):
    """One backend that may speak a request, resolved against it.

    Args:
        options: the request options as plain data, defaults included.
        options_key: the same as canonical JSON.
        uploaded: the voice is a tenant's own, so its audio is never shared with other tenants.
        language: the tag of the backend that matches the requested language.
        warnings: about features this arm cannot honour, as (code, message).
        named: the voices that the request's segments name, by voice and language as they name them.
    """

    backend: str
    revision: str
    capabilities: Capabilities
    voice: Voice
    language: str
    options: dict[str, Any]
    options_key: bytes
    uploaded: bool = False
    warnings: tuple[tuple[str, str], ...] = ()
    named: dict[tuple[str | None, str | None], ArmVoice] = {}


_canonical = msgspec.json.Encoder(order="deterministic")


def resolve(
    candidate: ArmBackend,
    request: SpeechRequest,
    speakers: Speakers | None,
    uploaded: Voice | None = None,
    own: Callable[[], list[str]] = list,
) -> Arm:
    """Resolve the request for this backend.

    Args:
        speakers: the languages of other backends, for the error about a language; None leaves them out.
        uploaded: the tenant's own voice of the requested name, if there is one.
        own: returns the names of the tenant's voices, for the error about an unknown voice.

    Raises:
        InvalidInput: the backend does not have this language, voice, option or (with `strict`) a seed.
    """
    language = _language(candidate, request, speakers)
    voice = _voice(candidate, request, uploaded, own)
    options = _options(candidate, request)
    warnings: list[tuple[str, str]] = []
    if request.seed is not None and not candidate.capabilities.seed:
        message = f"{candidate.name} cannot honour a seed: the same text may sound different next time"
        if request.strict:
            raise InvalidInput(f"{message}; leave out 'seed', or 'strict'")
        warnings.append(("seed_not_honoured", message))
    builtins = msgspec.to_builtins(options)
    return Arm(
        backend=candidate.name,
        revision=candidate.revision,
        capabilities=candidate.capabilities,
        voice=voice,
        language=language,
        options=builtins,
        options_key=_canonical.encode(builtins),
        uploaded=voice is uploaded,
        warnings=tuple(warnings),
    )


def with_named_voices(
    arm: Arm,
    candidate: ArmBackend,
    request: SpeechRequest,
    find: Callable[[str], Voice | None],
    own: Callable[[], list[str]],
) -> Arm:
    """Resolve the voices and languages that the request's segments name, too.

    Args:
        find: returns the tenant's own voice of a name, if there is one.
        own: see `resolve`.

    Raises:
        InvalidInput: the backend does not have one of these voices or languages.
    """
    named: dict[tuple[str | None, str | None], ArmVoice] = {}
    for segment in request.segments:
        if not isinstance(segment, Speak):
            continue
        name = (segment.voice, segment.language)
        if name == (None, None) or name in named:
            continue
        asked = msgspec.structs.replace(
            request, voice=segment.voice or request.voice, language=segment.language or request.language
        )
        uploaded = find(asked.voice)
        voice = _voice(candidate, asked, uploaded, own)
        named[name] = ArmVoice(voice, _language(candidate, asked, None), uploaded=voice is uploaded)
    return msgspec.structs.replace(arm, named=named)


def _language(candidate: ArmBackend, request: SpeechRequest, speakers: Speakers | None) -> str:
    spoken = candidate.capabilities.languages
    for tag in spoken:
        if tag == "*":
            return request.language
        if language_matches(request.language, tag):
            return tag
    others = f"; {speakers.of_language(request.language, candidate.name)}" if speakers is not None else ""
    raise InvalidInput(f"{candidate.name} speaks {', '.join(spoken)}, not {request.language!r}{others}")


def _voice(
    candidate: ArmBackend, request: SpeechRequest, uploaded: Voice | None, own: Callable[[], list[str]]
) -> Voice:
    voices = candidate.voices
    if uploaded is not None:
        if candidate.capabilities.cloning:
            return uploaded
        raise InvalidInput(
            f"{candidate.name} cannot clone voices, so it cannot use your voice {request.voice!r}; choose a "
            "backend that can (chatterbox), or one of its own voices"
        )
    if request.voice == "default" and voices:
        for voice in voices:
            if voice.name == "default":
                return voice
        for voice in voices:
            if any(tag == "*" or language_matches(request.language, tag) for tag in voice.languages):
                return voice
        return voices[0]
    for voice in voices:
        if voice.name == request.voice:
            return voice
    names = [voice.name for voice in voices]
    uploads = own() if candidate.capabilities.cloning else []
    yours = f"; yours are: {', '.join(uploads[:20])}" if uploads else ""
    raise InvalidInput(
        f"{candidate.name} has no voice {request.voice!r}{meant(request.voice, [*names, *uploads])}; "
        f"it has: {', '.join(dict.fromkeys(('default', *names)))}{yours}"
    )


def _options(candidate: ArmBackend, request: SpeechRequest) -> msgspec.Struct:
    fields = {field.encode_name for field in msgspec.structs.fields(candidate.options_type)}
    for key in request.options:
        if key not in fields:
            allowed = f"it knows: {', '.join(sorted(fields))}" if fields else "it has no options"
            shown = repr(key) if len(key) <= 60 else f"{key[:60]!r}..."
            raise InvalidInput(f"{candidate.name} has no option {shown}{meant(key, fields)}; {allowed}")
    try:
        return msgspec.convert(request.options, candidate.options_type)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"options of {candidate.name}: {explain(error, candidate.options_type)}") from error
