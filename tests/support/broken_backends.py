"""Backends that break one rule of the contract each, with the check that must find it."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np

from backends.interface import BackendUnavailable, ChunkFailed, Take, each
from backends.testing.scripted import ScriptedBackend

_count = itertools.count()


class Typos(msgspec.Struct, frozen=True):
    speed: float = 1.0


class LetsTyposPass(ScriptedBackend):
    RequestOptions = Typos


class ImportsHeavyThings(ScriptedBackend):
    def voices(self):
        import onnxruntime  # noqa: F401

        return super().voices()


class HasNoVoices(ScriptedBackend):
    def voices(self):
        return ()


class ChangesItsRevision(ScriptedBackend):
    def revision(self) -> str:
        return f"{next(_count)}"


class ChangesItsRevisionByLoading(ScriptedBackend):
    def revision(self) -> str:
        return "loaded" if self._loaded else "announced"


class CannotLoad(ScriptedBackend):
    def load(self, progress) -> None:
        raise BackendUnavailable("the model is not there", "voxgate models get")


class SpeaksWhatWasCancelled(ScriptedBackend):
    def synthesize(self, feed):
        while chunks := feed.take(1, wait=True):
            for chunk in chunks:
                yield Take(chunk.id, self._pcm(chunk, "tone"), 24_000)


class ForgetsLongChunks(ScriptedBackend):
    def synthesize(self, feed):
        for event in super().synthesize(feed):
            if event.pcm.size < 24_000 * 5:
                yield event


class NeverEndsLoading(ScriptedBackend):
    def load(self, progress) -> None:
        super().load(progress)
        self.progress = progress

    def synthesize(self, feed):
        self.progress(0.5, "another model")
        return super().synthesize(feed)


class LacksAModel(ScriptedBackend):
    def synthesize(self, feed):
        while chunks := feed.take(1, wait=True):
            for chunk in chunks:
                yield ChunkFailed(chunk.id, "the model is not there (fetch it)", kind="unavailable")


class FailsInAWayOfItsOwn(ScriptedBackend):
    def synthesize(self, feed):
        while chunks := feed.take(1, wait=True):
            for chunk in chunks:
                yield ChunkFailed(chunk.id, "it is Monday", kind="monday")


class GivesAnotherRate(ScriptedBackend):
    def synthesize(self, feed):
        return each(feed, lambda chunk: (self._pcm(chunk, "tone"), 8_000))


class DependsOnItsCompany(ScriptedBackend):
    def synthesize(self, feed):
        return each(feed, lambda chunk: (np.full(100 + next(_count), 0.1, np.float32), 24_000))


class LoadsOnlyOnce(ScriptedBackend):
    loads = 0

    def load(self, progress) -> None:
        self.loads += 1
        if self.loads > 1:
            raise RuntimeError("already loaded")


BROKEN = [
    (LetsTyposPass, "it has the names of the contract", "forbid_unknown_fields"),
    (ImportsHeavyThings, "capabilities, voices and revision import nothing heavy", "onnxruntime"),
    (ChangesItsRevision, "its revision is always the same", "and"),
    (ChangesItsRevisionByLoading, "its revision after loading is the announced one", "'loaded' and 'announced'"),
    (GivesAnotherRate, "it gives one take for each chunk", "8000 Hz"),
    (NeverEndsLoading, "it returns when the feed is closed", "never a share of 1"),
    (LacksAModel, "it gives one take for each chunk", "unavailable: the model is not there (fetch it)"),
    (FailsInAWayOfItsOwn, "it gives one take for each chunk", "kind 'monday', which is none of failed, too_long"),
    (HasNoVoices, "it has voices", "none"),
    (CannotLoad, "it loads and reports progress", "the model is not there"),
    (SpeaksWhatWasCancelled, "it gives nothing for a cancelled chunk", "events for chunks"),
    (ForgetsLongChunks, "it survives a chunk above its limit", "events for chunks []"),
    (DependsOnItsCompany, "it keeps its promise about seeds", "sound different"),
    (LoadsOnlyOnce, "it unloads and loads again", "already loaded"),
]
