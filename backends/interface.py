"""The contract between voxgate and a backend: what a plugin author implements.

A backend turns the text of a chunk into PCM. It does not know which host runs it (event loop, worker process,
Ray replica), how text was split, nor what becomes of its audio. Plugin authors import these names from
`voxgate.plugin`; this module imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import msgspec
import numpy as np
import numpy.typing as npt

API_VERSION = 1
ENTRY_POINT_GROUP = "voxgate.backends"

Pcm: TypeAlias = npt.NDArray[np.float32]
"""Mono float32 samples, shape (n,), nominally in [-1, 1]."""

FailureKind: TypeAlias = Literal[
    "failed", "too_long", "unsupported_text", "invalid_input", "unavailable", "out_of_memory"
]


class BackendUnavailable(Exception):
    """The backend cannot run now: a missing model, credential, device or package.

    Args:
        reason: what is wrong, in one sentence.
        cure: what to do about it, as a command or a setting where there is one.
    """

    code = "backend_unavailable"

    def __init__(self, reason: str, cure: str = "") -> None:
        super().__init__(reason, cure)
        self.reason = reason
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.reason} ({self.cure})" if self.cure else self.reason


class Limit(msgspec.Struct, frozen=True):
    """The longest text of one chunk: `n` characters or UTF-8 bytes."""

    n: int
    unit: Literal["chars", "utf8_bytes"] = "chars"


class ChunkRule(msgspec.Struct, frozen=True):
    """How long the chunks of a backend should be, in characters; `max` is never exceeded."""

    min_chars: int = 40
    target_chars: int = 240
    max: Limit = Limit(300)


class Price(msgspec.Struct, frozen=True):
    """What speech costs, in US dollars, and the day that price was read (ISO 8601)."""

    usd: float
    per: Literal["million_characters", "second"]
    as_of: str


class Voice(msgspec.Struct, frozen=True):
    """A voice a caller may ask for.

    Args:
        name: the name in a request.
        languages: BCP 47 tags it speaks.
        content_hash: changes whenever the voice's own material changes; part of every cache key.
    """

    name: str
    languages: tuple[str, ...]
    content_hash: str
    description: str = ""
    gender: Literal["female", "male", "neutral", ""] = ""
    material: str = ""
    """What the backend needs to find the voice (a path, a vendor's voice name); opaque to the gateway."""


class Otherwise(msgspec.Struct, frozen=True):
    """Languages a backend would speak if one of its own settings, `key`, were `value`."""

    key: str
    value: str
    languages: tuple[str, ...]


class Capabilities(msgspec.Struct, frozen=True):
    """What a backend can do; asked in the gateway, before anything is loaded.

    Args:
        languages: BCP 47 tags it speaks; `("*",)` for any.
        sample_rate: of its takes, in Hz.
        seed: whether the same chunk with the same seed gives the same samples.
        ssml: SSML elements it understands natively.
        cloning: whether it can speak like a recording; `Voice.material` is then the path of a mono 24 kHz WAV.
        checks: whether it now and then speaks badly, as models that sample do: its takes are then checked, and
            flawed ones spoken again with another seed.
        spell_out: whether it wants numbers, dates, money and abbreviations written as words.
        host: where it runs unless the operator says otherwise.
        concurrency: chunks one worker (or the event loop, for `inline`) speaks at a time.
        workers: worker processes unless the operator says otherwise; 0 means one for each core.
        otherwise: what it would speak under other settings: whoever asks for a language it lacks is told.
        most_workers: more than so many make no sense, whoever asks: one that fills a device needs one worker.
    """

    languages: tuple[str, ...]
    sample_rate: int
    chunk: ChunkRule = ChunkRule()
    seed: bool = False
    ssml: tuple[str, ...] = ()
    cloning: bool = False
    checks: bool = False
    spell_out: bool = False
    price: Price | None = None
    host: Literal["process", "inline"] = "process"
    concurrency: int = 1
    workers: int = 1
    most_workers: int | None = None
    otherwise: tuple[Otherwise, ...] = ()


class BackendContext(msgspec.Struct, frozen=True):
    """What the machine offers a backend.

    Args:
        model_dir: where downloaded models are kept (MODEL_CACHE_DIR).
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        threads: compute threads one worker may use.
        hf_token: token for the model hub, if any.
    """

    model_dir: Path
    device: str = "auto"
    threads: int = 1
    hf_token: str | None = None


class Chunk(msgspec.Struct, frozen=True):
    """What a backend speaks in one go.

    Args:
        id: unique while the chunk is in flight; events refer to it.
        text: plain text, without control characters or lone surrogates.
        ssml: the same as SSML, only for backends that declare SSML elements.
        language: BCP 47.
        seed: 0 to 2**63 - 1; equal chunks get equal seeds, whatever their position or company.
        options: an instance of the backend's `RequestOptions`.
    """

    id: int
    text: str
    voice: Voice
    language: str
    seed: int
    options: Any
    ssml: str | None = None


class Take(msgspec.Struct, frozen=True):
    """The PCM of one whole chunk, at `rate` Hz."""

    chunk_id: int
    pcm: Pcm
    rate: int
    warnings: tuple[str, ...] = ()


class ChunkFailed(msgspec.Struct, frozen=True):
    """One chunk could not be spoken; its company is not affected.

    Args:
        error: what went wrong, for the caller of the API.
        retryable: whether another try may help.
        kind: `too_long` makes speech split the text and ask again; `unsupported_text` and `invalid_input`
            are the caller's to mend and are never tried again; `unavailable` is BackendUnavailable for this chunk
            alone: a model it needs cannot be had, `error` says why and what to do, and a fallback may speak instead.
            With `retryable`, `out_of_memory` asks for the same seed again, since nothing was wrong with the take; any
            other failure for another one.
    """

    chunk_id: int
    error: str
    retryable: bool = False
    kind: FailureKind = "failed"


Event: TypeAlias = Take | ChunkFailed


class Feed(Protocol):
    """Where an engine gets its chunks. It asks whenever it has room."""

    def take(self, n: int, wait: bool) -> list[Chunk]:
        """Up to `n` chunks. With `wait`, blocks until there is one; `[]` then means: no more will come, return.

        Wait only when nothing is in the making: a chunk that was taken and has no event by then has failed.
        """

    def cancelled(self, chunk_id: int) -> bool:
        """Whether nobody wants this chunk any more; ask at each step, and yield nothing for it if so."""


class AsyncFeed(Protocol):
    """The feed of a backend on the event loop."""

    async def take(self, n: int, wait: bool) -> list[Chunk]:
        """See `Feed.take`."""

    def cancelled(self, chunk_id: int) -> bool:
        """See `Feed.cancelled`."""


Progress: TypeAlias = Callable[[float, str], None]
"""Called while loading with a share in [0, 1] and what is being done.

A backend may keep it and call it after `load`, too, from any thread, when it needs another model in the middle of its
work: from then on all chunks it holds count as waiting, and it is given no more, until it says a share of 1.
"""


class ModelFile(msgspec.Struct, frozen=True):
    """One file of a model; `size_bytes` is None while it is not there."""

    name: str
    size_bytes: int | None


class ModelFiles(msgspec.Struct, frozen=True):
    """The files of one model.

    Args:
        source: where they come from, for people: `owner/name@commit`, or the folder the operator named.
        folder: where they are, or will be.
        files: all that are needed.
        cure: what to do where some are missing; "" where the backend fetches them by itself when they are needed.
    """

    name: str
    source: str
    folder: Path
    files: tuple[ModelFile, ...]
    cure: str = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of files that are not there."""
        return tuple(file.name for file in self.files if file.size_bytes is None)

    @property
    def size_bytes(self) -> int:
        """Of the files that are there."""
        return sum(file.size_bytes or 0 for file in self.files)


@runtime_checkable
class ModelStore(Protocol):
    """Optional: a backend with model files of its own, which `voxgate models` lists, fetches and checks.

    None of it needs `load`; `models` looks at the disk only.
    """

    def models(self) -> tuple[ModelFiles, ...]:
        """The models its settings ask for."""

    def pull(self, progress: Progress) -> None:
        """Fetch what is missing, or newer where a moving name was asked for. Raises BackendUnavailable."""

    def verify(self) -> tuple[str, ...]:
        """Read all files; what is wrong with them, a line each, nothing when all is well."""


class NoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For a backend without settings of its own."""


class NoOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For a backend without request options."""


@runtime_checkable
class Backend(Protocol):
    """A plugin. Its class is what the entry point names; it is built as `cls(settings, context)`.

    `capabilities`, `voices` and `revision` run in the gateway: they are fast and import nothing heavy. `load`,
    `synthesize` and `unload` run where the host puts them. After `load` the worker asks `revision` again; a
    different answer stops the backend, since cache keys would lie.
    """

    name: ClassVar[str]
    api_version: ClassVar[int]
    Settings: ClassVar[type[msgspec.Struct]]
    RequestOptions: ClassVar[type[msgspec.Struct]]

    def __init__(self, settings: Any, context: BackendContext) -> None: ...

    def capabilities(self) -> Capabilities:
        """What the backend can do."""

    def voices(self) -> tuple[Voice, ...]:
        """The voices it has; the first one is its default."""

    def revision(self) -> str:
        """Changes whenever the same chunk could sound different: package version, model files."""

    def load(self, progress: Progress) -> None:
        """Make the engine ready. Raises BackendUnavailable."""

    def synthesize(self, feed: Any) -> Iterator[Event] | AsyncIterator[Event]:
        """Speak chunks from the feed until it is closed; yield one event for every chunk not cancelled."""

    def unload(self) -> None:
        """Give memory back."""


def each(feed: Feed, speak: Callable[[Chunk], tuple[Pcm, int]]) -> Iterator[Event]:
    """Make a simple backend of a function that speaks one chunk: `return each(feed, self.speak)`.

    Args:
        speak: gives the samples and their rate in Hz. Whatever it raises fails that chunk alone; a `ValueError`
            says the text is at fault and is not tried again.
    """
    while chunks := feed.take(1, wait=True):
        for chunk in chunks:
            if feed.cancelled(chunk.id):
                continue
            try:
                pcm, rate = speak(chunk)
            except BackendUnavailable:
                raise
            except ValueError as error:
                yield ChunkFailed(chunk.id, str(error), kind="invalid_input")
            except Exception as error:  # noqa: BLE001 - one bad chunk must not end the engine
                yield ChunkFailed(chunk.id, f"{type(error).__name__}: {error}", retryable=True)
            else:
                yield Take(chunk.id, pcm, rate)
