"""The plugin contract: the interface between voxgate and a backend.

A backend turns the text of a chunk into PCM. It does not know which host runs it (event loop, worker process, Ray
replica), how the text was split, or how its audio is used. Plugin authors import these names from `voxgate.plugin`;
this module imports no other module of voxgate.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
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
        cure: how to fix it, if possible as a command or a setting.
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
    """The length of a backend's chunks, in characters; `max` is never exceeded."""

    min_chars: int = 40
    target_chars: int = 240
    max: Limit = Limit(300)


class Price(msgspec.Struct, frozen=True):
    """The price of speech in US dollars, and the day it was read (ISO 8601)."""

    usd: float
    per: Literal["million_characters", "second"]
    as_of: str


LoadMaterial: TypeAlias = Callable[[str], AbstractContextManager[Path]]
"""A function that gives the path of the file with this hash, inside a `with` block."""


class Material(msgspec.Struct, frozen=True):
    """The recording of a voice, named by the hash of its bytes: mono WAV at 24 kHz for a voice that was uploaded.

    Args:
        hash: SHA-256 in hex.
        load: finds the recording; the host sets it where the backend runs.
    """

    hash: str
    load: LoadMaterial | None = None

    def local(self) -> AbstractContextManager[Path]:
        """Give the path of the recording on this machine, inside a `with` block.

        Raises:
            OSError: the recording is lost or damaged.
        """
        if self.load is None:
            raise RuntimeError("a recording can only be read where its backend runs")
        return self.load(self.hash)


class Voice(msgspec.Struct, frozen=True):
    """A voice a caller may ask for.

    Args:
        name: the name in a request.
        languages: BCP 47 tags it speaks.
        content_hash: a hash that changes whenever the voice's own material changes; part of every cache key.
        material: its recording, if it has one.
        price: its price, if that differs from the backend's.
    """

    name: str
    languages: tuple[str, ...]
    content_hash: str
    description: str = ""
    gender: Literal["female", "male", "neutral", ""] = ""
    material: Material | None = None
    price: Price | None = None


class Otherwise(msgspec.Struct, frozen=True):
    """Languages a backend would speak if its setting `key` were `value`."""

    key: str
    value: str
    languages: tuple[str, ...]


class Capabilities(msgspec.Struct, frozen=True):
    """The capabilities of a backend; asked in the gateway, before anything is loaded.

    Args:
        languages: BCP 47 tags it speaks; `("*",)` for any.
        sample_rate: of its takes, in Hz.
        seed: the same chunk with the same seed gives the same samples.
        ssml: SSML elements it understands natively.
        cloning: it can speak with the voice of a recording, `Voice.material`.
        checks: its takes are sometimes flawed, as those of models that sample are: they are checked, and flawed ones
            spoken again with another seed.
        spell_out: it needs numbers, dates, money and abbreviations written as words.
        host: the place it runs in.
        concurrency: chunks one worker (or the event loop, for `inline`) speaks at a time.
        workers: default number of worker processes; 0 means one for each core.
        words: its takes carry word times.
        otherwise: languages it would speak with other settings; named in the error for a language it lacks.
        most_workers: highest number of workers an operator may set; 1 for a backend that fills a device by itself.
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
    words: bool = False
    otherwise: tuple[Otherwise, ...] = ()


class BackendContext(msgspec.Struct, frozen=True):
    """The part of the machine and its settings that a backend may use.

    Args:
        model_dir: the folder of downloaded models (MODEL_CACHE_DIR).
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        threads: compute threads one worker may use.
        hf_token: token for the model hub, if any.
    """

    model_dir: Path
    device: str = "auto"
    threads: int = 1
    hf_token: str | None = None


class Chunk(msgspec.Struct, frozen=True):
    """The text that a backend speaks in one take.

    Args:
        id: unique until the chunk has ended; events refer to it.
        text: plain text, without control characters or lone surrogates.
        ssml: the same text as SSML, only for backends that declare SSML elements.
        language: BCP 47.
        seed: 0 to 2**63 - 1; equal chunks get equal seeds, whatever other chunks there are.
        options: an instance of the backend's `RequestOptions`.
    """

    id: int
    text: str
    voice: Voice
    language: str
    seed: int
    options: Any
    ssml: str | None = None


class WordTime(msgspec.Struct, frozen=True, array_like=True):
    """A word and the samples of its take in which it is spoken, from `start` to before `end`."""

    start: int
    end: int
    word: str


class Take(msgspec.Struct, frozen=True):
    """The PCM of one whole chunk, at `rate` Hz.

    Args:
        words: when each word is spoken, in order and without overlaps; empty if the engine cannot tell.
    """

    chunk_id: int
    pcm: Pcm
    rate: int
    warnings: tuple[str, ...] = ()
    words: tuple[WordTime, ...] = ()


class ChunkFailed(msgspec.Struct, frozen=True):
    """The failure of one chunk; other chunks are not affected.

    Args:
        error: the reason, for the caller of the API.
        retryable: another try may help.
        kind: `too_long` makes the gateway split the text and ask again; `unsupported_text` and `invalid_input` are
            errors of the caller and are never tried again; `unavailable` is BackendUnavailable for this chunk alone:
            a model it needs is missing, `error` says why and what to do, and a fallback may speak instead. With
            `retryable`, `out_of_memory` is tried again with the same seed, any other kind with another seed.
        retry_after_s: seconds to wait before another try of a retryable failure, as a busy service asks for them. The
            gateway waits, with the same seed afterwards; a backend never sleeps itself and so keeps its room.
    """

    chunk_id: int
    error: str
    retryable: bool = False
    kind: FailureKind = "failed"
    retry_after_s: float | None = None


Event: TypeAlias = Take | ChunkFailed


class Feed(Protocol):
    """The source of an engine's chunks. The engine asks whenever it has room."""

    def take(self, n: int, wait: bool) -> list[Chunk]:
        """Return up to `n` chunks. With `wait`, block until there is one; `[]` then means the feed is closed: return.

        Wait only when no chunk is being spoken: a chunk that was taken before and has no event then has failed.
        """

    def cancelled(self, chunk_id: int) -> bool:
        """Return whether a chunk is cancelled. Ask at each step; give no event for a cancelled chunk."""


class AsyncFeed(Protocol):
    """The feed of a backend on the event loop."""

    async def take(self, n: int, wait: bool) -> list[Chunk]:
        """See `Feed.take`. Waiting is allowed while chunks are being spoken; a chunk without an event is still held."""

    def cancelled(self, chunk_id: int) -> bool:
        """See `Feed.cancelled`."""

    def when_cancelled(self, chunk_id: int, call: Callable[[], object]) -> None:
        """Call `call` when a chunk that was taken and has no event yet is cancelled; at once if it is already."""


Progress: TypeAlias = Callable[[float, str], None]
"""A function called while loading with a share in [0, 1] and the present step in words.

A backend may keep it and call it after `load` too, from any thread, when it needs another model: from then on all
chunks it holds count as waiting, and it gets no more, until it reports a share of 1.
"""


class ModelFile(msgspec.Struct, frozen=True):
    """One file of a model; `size_bytes` is None while the file is missing."""

    name: str
    size_bytes: int | None


class ModelFiles(msgspec.Struct, frozen=True):
    """The files of one model.

    Args:
        source: their origin, to show: `owner/name@commit`, or the folder the operator named.
        folder: the folder they are in, or will be.
        files: all files the model needs.
        cure: how to get missing files; "" if the backend downloads them itself when they are needed.
    """

    name: str
    source: str
    folder: Path
    files: tuple[ModelFile, ...]
    cure: str = ""

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the missing files."""
        return tuple(file.name for file in self.files if file.size_bytes is None)

    @property
    def size_bytes(self) -> int:
        """Total size of the files that are present."""
        return sum(file.size_bytes or 0 for file in self.files)


@runtime_checkable
class ModelStore(Protocol):
    """Optional interface of a backend with model files, which `voxgate models` lists, downloads and checks.

    No method needs `load`; `models` looks at the disk only.
    """

    def models(self) -> tuple[ModelFiles, ...]:
        """List the models its settings name."""

    def pull(self, progress: Progress) -> None:
        """Download missing files, and newer ones if the settings name a branch. Raises BackendUnavailable."""

    def verify(self) -> tuple[str, ...]:
        """Read all files and return their faults, one line each; empty if there is none."""


class NoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings of a backend that has none."""


class NoOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The request options of a backend that has none."""


@runtime_checkable
class Backend(Protocol):
    """A plugin. The entry point names its class, which is built as `cls(settings, context)`.

    `capabilities`, `voices` and `revision` run in the gateway: they must be fast and import nothing heavy. `load`,
    `synthesize` and `unload` run in the host's worker. After `load` the worker asks for `voices` and `revision` again:
    other voices replace the first ones, another revision stops the backend, because cache keys would be wrong.
    """

    name: ClassVar[str]
    api_version: ClassVar[int]
    Settings: ClassVar[type[msgspec.Struct]]
    RequestOptions: ClassVar[type[msgspec.Struct]]

    def __init__(self, settings: Any, context: BackendContext) -> None: ...

    def capabilities(self) -> Capabilities:
        """Return the capabilities."""

    def voices(self) -> tuple[Voice, ...]:
        """List the voices; the first one is the default."""

    def revision(self) -> str:
        """Return an id that changes whenever a chunk could sound different: package version, model files."""

    def load(self, progress: Progress) -> None:
        """Make the engine ready. Raises BackendUnavailable."""

    def synthesize(self, feed: Any) -> Iterator[Event] | AsyncIterator[Event]:
        """Speak chunks from the feed until it is closed; yield one event for each chunk that is not cancelled."""

    def unload(self) -> None:
        """Free the engine's memory."""
