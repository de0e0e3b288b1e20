"""From the bytes of `input` to what will be spoken, by whom, under which cache key."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from backends.interface import ChunkRule
from gateway.cache.hot import HotTier, beside, held_by
from gateway.cache.keys import Recipe, Source, cache_key
from gateway.errors import InvalidInput
from gateway.routing.arms import Arm
from gateway.routing.endpoints import Endpoint
from gateway.routing.router import Router
from gateway.settings import Settings
from gateway.speech.checks import CHECKS_VERSION
from gateway.speech.decode import decode_request
from gateway.speech.encode import default_bitrate, encoder_identity
from gateway.speech.language import UnknownLanguage
from gateway.speech.lexicon import Respelled
from gateway.speech.plan import clamp_max_chars, planner_version
from gateway.speech.pronunciations import Pronunciations
from gateway.speech.request import SpeechRequest
from gateway.speech.spell import can_spell_out

READ_IN_THREAD_BYTES = 200_000
SEARCH_IN_THREAD_BYTES = 20_000
MEMO_SHARE = 16
MEMO_OVERHEAD_BYTES = 3_000

_OPERATORS_WARNINGS = ("max_chars_clamped",)
"""About a setting, not about the request: no caller could ask otherwise, so `strict` lets them pass."""


class Assignment(msgspec.Struct, frozen=True):
    """A request on one arm.

    Args:
        key: the cache key of the finished audio.
        warnings: what this request, on this arm, does not get as asked: (code, message).
        spelled_out: numbers and abbreviations become words before the text is planned.
        respelled: the text as the tenant's pronunciation dictionary has it; None where that changes nothing.
    """

    request: SpeechRequest
    arm: Arm
    source: Source
    rule: ChunkRule
    key: str
    warnings: tuple[tuple[str, str], ...]
    spelled_out: bool = False
    respelled: Respelled | None = None

    @property
    def spoken(self) -> str:
        """The text that is planned."""
        return self.request.text if self.respelled is None else self.respelled.text


class Intake:
    """Reads requests."""

    def __init__(
        self,
        settings: Settings,
        router: Router,
        pronunciations: Pronunciations | None = None,
    ) -> None:
        """Without `pronunciations` every text is spoken as it is written."""
        self._pronunciations = pronunciations
        self._router = router
        self._scope = settings.cache.scope
        self._max_chars = settings.max_chars_per_chunk
        self._take_retries = settings.jobs.take_retries
        self._memo: HotTier[Assignment] = HotTier(beside(settings.cache.hot_bytes, MEMO_SHARE))
        self.reading = 0
        """Grows when endpoints or voices have changed, so that what was read before can be told."""

    @property
    def held_bytes(self) -> int:
        """Bytes of what is remembered."""
        return self._memo.size_bytes

    def remembered(self, raw_input: bytes, endpoint: Endpoint, tenant: str) -> Assignment:
        """The same as `read`, from memory where this very input was read before: the hot path's shortcut.

        Raises:
            InvalidInput, ModelNotInitialized: see `read`.
        """
        memo = (tenant, endpoint.id, raw_input)
        found = self._memo.get(memo)
        if found is None:
            found = self.read(raw_input, endpoint, tenant)
            respelled = 0 if found.respelled is None else 2 * held_by(found.respelled.text)
            read = len(raw_input) + held_by(raw_input, found.request.text)  # its options may be as long as its text
            self._memo.put(memo, found, read + respelled + MEMO_OVERHEAD_BYTES)
        return found

    def takes_long(self, raw_input: bytes, tenant: str) -> bool:
        """Whether to read it in a thread: it is long, or long for a text that is searched for words to respell."""
        searched = self._pronunciations is not None and self._pronunciations.has_any(tenant)
        return len(raw_input) > (SEARCH_IN_THREAD_BYTES if searched else READ_IN_THREAD_BYTES)

    def forget(self) -> None:
        """Endpoints, voices or dictionaries have changed: what was read with them may be read otherwise now."""
        self._memo.clear()
        self.reading += 1

    def read(self, raw_input: bytes | msgspec.Raw, endpoint: Endpoint, tenant: str) -> Assignment:
        """Decode, resolve and key a request.

        Raises:
            InvalidInput: what was wrong, what is allowed.
            ModelNotInitialized: who should speak is not loaded here.
        """
        try:
            request = decode_request(raw_input, endpoint.input_defaults)
        except UnknownLanguage as error:
            raise InvalidInput(f"{error}; {self._router.speakers.known()}") from None
        assignment = self.assign(request, self._router.first(request, endpoint, tenant), tenant)
        lacking = [message for code, message in assignment.warnings if code not in _OPERATORS_WARNINGS]
        if request.strict and lacking:
            raise InvalidInput("; ".join(lacking) + " ('strict' is set)")
        return assignment

    def assign(self, request: SpeechRequest, arm: Arm, tenant: str) -> Assignment:
        """The request on this arm."""
        rule, clamped = clamp_max_chars(arm.capabilities.chunk, self._max_chars)
        wanted = request.normalize == "on" or (request.normalize == "auto" and arm.capabilities.spell_out)
        spelled_out = wanted and can_spell_out(arm.language)
        source = Source(
            scope="shared" if self._scope == "shared" and not arm.uploaded else f"tenant:{tenant}",
            backend=arm.backend,
            revision=arm.revision,
            voice_hash=arm.voice.content_hash,
            language=arm.language,
            options=arm.options_key,
            checks=f"{CHECKS_VERSION}.{self._take_retries}" if arm.capabilities.checks else "",
        )
        respelled = None
        if self._pronunciations is not None:
            respelled = self._pronunciations.respell(tenant, arm.language, request.text)
        recipe = Recipe(
            text=request.text,
            seed=request.seed or 0,
            planner=planner_version(spelled_out),
            chunk_rule=(rule.min_chars, rule.target_chars, rule.max.n, rule.max.unit),
            speed=request.speed,
            loudness=request.loudness,
            format=request.format,
            encoder=encoder_identity(request.format),
            bitrate=request.bitrate or default_bitrate(request.format),
            spoken=None if respelled is None else respelled.text,
        )
        warnings = list(arm.warnings)
        if clamped is not None:
            warnings.append(("max_chars_clamped", clamped))
        if request.normalize == "on" and not spelled_out:
            message = f"there are no words for the numbers of {arm.language!r} here: they are spoken as written"
            warnings.append(("not_normalized", message))
        return Assignment(
            request, arm, source, rule, cache_key(source, recipe), tuple(warnings), spelled_out, respelled
        )

    def who_else(self, text: str, but: Collection[str]) -> str:
        """Which backends could speak the script of a text that these cannot, in words; "" if nothing is known."""
        return self._router.speakers.of_text(text, but)

    def assignments(self, request: SpeechRequest, endpoint: Endpoint, tenant: str) -> list[Assignment]:
        """The request on every arm that may speak it, in their order.

        Raises:
            InvalidInput, ModelNotInitialized: there is none.
        """
        return [self.assign(request, arm, tenant) for arm in self._router.arms(request, endpoint, tenant)]
