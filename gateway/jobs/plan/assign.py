"""Turns the bytes of `input` into an assignment: the request, its arm, its chunk rule and its cache key.

A reading is the request, decoded once for its bytes. Each request chooses its arm anew (`choose`). The assignment of a
reading to an arm is made once and kept with the reading.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from weakref import WeakValueDictionary

import msgspec

from backends.interface import ChunkRule, Voice
from gateway.cache.hot import HotTier, beside, held_by
from gateway.cache.keys import Recipe, Source
from gateway.errors import InvalidInput
from gateway.library.pronunciations import Pronunciations
from gateway.routing.arms import Arm
from gateway.routing.endpoints import Endpoint
from gateway.routing.offers import Offers
from gateway.routing.router import Router
from gateway.settings import Settings
from gateway.speech.encode import default_bitrate, encoder_identity
from gateway.speech.planner import LONG_BYTES, LONG_CHARS, SPELLING_COSTS, Planned, Planner, PlanOrder, respelled_key
from gateway.speech.request import NO_WORD_TIMES, SpeechRequest, check_speeds
from gateway.speech.sound.checks import CHECKS_VERSION
from gateway.speech.text.language import UnknownLanguage
from gateway.speech.text.lexicon import Lexicon
from gateway.speech.text.plan import clamp_max_chars, planner_version
from gateway.speech.text.script import PlanVoices, VoiceUse
from gateway.speech.text.spell import can_spell_out

MEMO_SHARE = 16
MEMO_OVERHEAD_BYTES = 3_000

_OPERATOR_WARNINGS = ("max_chars_clamped",)
"""Warnings about a server setting, which no request can change; `strict` does not refuse them."""


class Assignment(msgspec.Struct, frozen=True):
    """A request on one arm.

    Args:
        key: the cache key of the finished audio.
        warnings: options that this arm does not apply as requested: (code, message).
        spelled_out: numbers and abbreviations become words before the text is planned.
        lexicon: the tenant's pronunciation dictionary; None where it does not change the text.
        source: of the finished audio; its scope is the tenant if any voice is its own.
        voices: every voice that its plan may name, each with the source of its takes.
    """

    request: SpeechRequest
    arm: Arm
    source: Source
    voices: PlanVoices
    rule: ChunkRule
    key: str
    warnings: tuple[tuple[str, str], ...]
    spelled_out: bool = False
    lexicon: Lexicon | None = None

    @property
    def own_voices(self) -> tuple[VoiceUse, ...]:
        """Return the uploaded voices of the tenant that its plan may name."""
        return tuple(use for use in self.voices.all if use.uploaded)

    def order(self, voices: PlanVoices) -> PlanOrder:
        """Return the input of its plan; `voices` has the sources of its takes."""
        request, arm = self.request, self.arm
        return PlanOrder(
            text=request.text,
            language=arm.language,
            rule=self.rule,
            spelled_out=self.spelled_out,
            lexicon=self.lexicon,
            voices=voices,
            seed=request.seed,
            speed=request.speed,
            rate=arm.capabilities.sample_rate,
            segments=request.segments,
        )


class Reading(msgspec.Struct, frozen=True):
    """A request that was decoded once for its bytes, its endpoint and its tenant.

    Args:
        number: differs for all readings of a server.
        assignments: those made so far, by backend.
    """

    number: int
    offers: Offers
    assignments: dict[str, Assignment] = {}

    @property
    def request(self) -> SpeechRequest:
        """Return the request."""
        return self.offers.request


class Choice(msgspec.Struct, frozen=True):
    """The arm chosen for one request.

    Args:
        arms: the backends in the order in which they are tried; the assignment's is the first that can speak.
        unit: what the split is sticky by; "" for an endpoint without arms.
    """

    assignment: Assignment
    arms: tuple[str, ...]
    unit: str = ""


class Assigner:
    """Decodes requests and assigns them to arms."""

    def __init__(
        self,
        settings: Settings,
        router: Router,
        pronunciations: Pronunciations | None = None,
        planner: Planner | None = None,
    ) -> None:
        """Make an assigner. `pronunciations` respells texts; None: never. `planner` decodes long inputs."""
        self._planner = planner or Planner()
        self._pronunciations = pronunciations
        self._router = router
        self._scope = settings.cache.scope
        self._max_chars = settings.max_chars_per_chunk
        self._take_retries = settings.jobs.take_retries
        self._readings: HotTier[Reading] = HotTier(beside(settings.cache.hot_bytes, MEMO_SHARE))
        self._numbers = itertools.count()
        self._plans: WeakValueDictionary[tuple[str, ...], Planned] = WeakValueDictionary()
        self.generation = 0
        """Grows when endpoints, voices or dictionaries change; older readings are then forgotten."""

    @property
    def held_bytes(self) -> int:
        """Bytes of the readings that are kept."""
        return self._readings.size_bytes

    def read(self, raw_input: bytes, endpoint: Endpoint, tenant: str) -> Reading:
        """Decode a request, or return the reading of the same bytes.

        Raises:
            InvalidInput: states what was wrong and what is allowed.
        """
        name = (tenant, endpoint.id, raw_input)
        found = self._readings.get(name)
        if found is None:
            try:
                request = self._planner.decode_here(raw_input, endpoint.input_defaults)
            except UnknownLanguage as error:
                raise self._unknown(error) from None
            found = self._reading(request, endpoint, tenant)
            # The raw input counts twice: the options may be as long as the text.
            size_bytes = len(raw_input) + held_by(raw_input, request.text)
            arms = max(1, len(endpoint.policy.arms))
            self._readings.put(name, found, size_bytes + arms * MEMO_OVERHEAD_BYTES)
        return found

    def choose(self, reading: Reading, key_id: str) -> Choice:
        """Choose the arm that speaks a request which is not long.

        Args:
            key_id: of the caller's key.

        Raises:
            InvalidInput, ModelNotInitialized: no backend here can speak it.
        """
        offers = reading.offers
        unit = offers.unit(key_id) if offers.split else ""
        names = offers.choose(unit)
        arm = offers.first(names)
        assignment = reading.assignments.get(arm.backend)
        if assignment is None:
            assignment = _checked(self.assign(offers.request, arm, offers.tenant))
            reading.assignments[arm.backend] = assignment
        return Choice(assignment, names, unit)

    def takes_long(self, raw_input: bytes, tenant: str) -> bool:
        """Return whether decoding it here would block the event loop for long: see `accept`."""
        return len(raw_input) > (LONG_BYTES // SPELLING_COSTS if self._searched(tenant) else LONG_BYTES)

    async def accept(self, raw_input: bytes, endpoint: Endpoint, tenant: str, key_id: str) -> Choice:
        """Read an input of any length and choose its arm; a long one is decoded in another process, and not kept.

        Raises:
            InvalidInput, ModelNotInitialized: see `read` and `choose`.
            ReadingFailed: the process that decoded it died.
        """
        if not self.takes_long(raw_input, tenant):
            return self.choose(self.read(raw_input, endpoint, tenant), key_id)
        try:
            request = await self._planner.decode(raw_input, endpoint.input_defaults, tenant)
        except UnknownLanguage as error:
            raise self._unknown(error) from None
        offers = self._router.offers(request, endpoint, tenant)
        unit = offers.unit(key_id) if offers.split else ""
        names = offers.choose(unit)
        return Choice(_checked(await self._assigned(request, offers.first(names), tenant)), names, unit)

    def forget(self) -> None:
        """Forget all readings, since endpoints, voices or dictionaries have changed."""
        self._readings.clear()
        self.generation += 1

    def _reading(self, request: SpeechRequest, endpoint: Endpoint, tenant: str) -> Reading:
        return Reading(next(self._numbers), self._router.offers(request, endpoint, tenant), {})

    def offers(self, request: SpeechRequest, endpoint: Endpoint, tenant: str) -> Offers:
        """Return the offers for a request that was decoded before."""
        return self._router.offers(request, endpoint, tenant)

    def assign(self, request: SpeechRequest, arm: Arm, tenant: str) -> Assignment:
        """Assign the request to this arm."""
        draft, recipe = self._draft(request, arm, tenant)
        return _keyed(draft, *respelled_key(draft.source, recipe, draft.lexicon, _more_key(draft)))

    async def assigned(self, offers: Offers, backend: str) -> Assignment | None:
        """Assign the request to a backend; None if that cannot speak it. A long text is keyed in another process.

        Raises:
            ReadingFailed: the process that keyed its text died.
        """
        arm = offers.arm(backend)
        return None if arm is None else await self._assigned(offers.request, arm, offers.tenant)

    async def _assigned(self, request: SpeechRequest, arm: Arm, tenant: str) -> Assignment:
        if len(request.text) <= (LONG_CHARS // SPELLING_COSTS if self._searched(tenant) else LONG_BYTES):
            return self.assign(request, arm, tenant)
        draft, recipe = self._draft(request, arm, tenant)
        key = self._planner.key(draft.source, recipe, draft.lexicon, tenant, _more_key(draft))
        return _keyed(draft, *await key)

    def _draft(self, request: SpeechRequest, arm: Arm, tenant: str) -> tuple[Assignment, Recipe]:
        """Return an assignment without its key, and the key's recipe. Its lexicon may match nothing in the text."""
        rule, clamped = clamp_max_chars(arm.capabilities.chunk, self._max_chars)
        wanted = request.normalize == "on" or (request.normalize == "auto" and arm.capabilities.spell_out)
        spelled_out = wanted and can_spell_out(arm.language)
        check_speeds(request)
        voices = self._voices(arm, tenant)
        source = voices.request.source
        if any(use.uploaded for use in voices.named.values()):
            source = msgspec.structs.replace(source, scope=f"tenant:{tenant}")
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
        )
        warnings = list(arm.warnings)
        if clamped is not None:
            warnings.append(("max_chars_clamped", clamped))
        if request.normalize == "on" and not spelled_out:
            message = f"this server has no words for numbers in {arm.language!r}: they are spoken as written"
            warnings.append(("not_normalized", message))
        if request.words and not arm.capabilities.words:
            warnings.append((NO_WORD_TIMES, f"{arm.backend} cannot tell when each word is spoken"))
        lexicon = None if self._pronunciations is None else self._pronunciations.lexicon(tenant, arm.language)
        return Assignment(request, arm, source, voices, rule, "", tuple(warnings), spelled_out, lexicon), recipe

    def _voices(self, arm: Arm, tenant: str) -> PlanVoices:
        checks = f"{CHECKS_VERSION}.{self._take_retries}" if arm.capabilities.checks else ""

        def use(voice: Voice, language: str, uploaded: bool) -> VoiceUse:
            source = Source(
                scope="shared" if self._scope == "shared" and not uploaded else f"tenant:{tenant}",
                backend=arm.backend,
                revision=arm.revision,
                voice_hash=voice.content_hash,
                language=language,
                options=arm.options_key,
                checks=checks,
            )
            return VoiceUse(voice, source, uploaded)

        named = {name: use(each.voice, each.language, each.uploaded) for name, each in arm.named.items()}
        return PlanVoices(use(arm.voice, arm.language, arm.uploaded), named)

    def _searched(self, tenant: str) -> bool:
        return self._pronunciations is not None and self._pronunciations.has_any(tenant)

    def _unknown(self, error: UnknownLanguage) -> InvalidInput:
        return InvalidInput(f"{error}; {self._router.speakers.known()}")

    def speakers_of(self, text: str, but: Collection[str]) -> str:
        """Name, in a sentence, the backends except these that can speak the text's script; "" if none is known."""
        return self._router.speakers.of_text(text, but)

    async def plan(self, assignment: Assignment, voices: PlanVoices, tenant: str) -> Planned:
        """Plan a request on its arm. Everybody who holds the plan of the same takes shares one.

        Args:
            voices: with the sources of its takes.

        Raises:
            ReadingFailed: the process that planned it died.
        """
        name = (tenant, assignment.key, voices.request.source.scope)
        planned = self._plans.get(name)
        if planned is None:
            planned = self._plans[name] = await self._planner.plan(assignment.order(voices), tenant)
        return planned


def _more_key(draft: Assignment) -> bytes:
    """Return what segments and word times add to the cache key; nothing for plain text alone.

    Segments add themselves, and the sources of the voices they name. Answers with word times are stored apart.
    """
    segments = draft.request.segments
    key = msgspec.json.encode((segments, [use.source for use in draft.voices.all])) if segments else b""
    return key + b"words" if draft.request.words else key


def _keyed(draft: Assignment, key: str, respelled: bool) -> Assignment:
    return msgspec.structs.replace(draft, key=key, lexicon=draft.lexicon if respelled else None)


def _checked(assignment: Assignment) -> Assignment:
    lacking = [message for code, message in assignment.warnings if code not in _OPERATOR_WARNINGS]
    if assignment.request.strict and lacking:
        raise InvalidInput("; ".join(lacking) + " ('strict' is set)")
    return assignment
