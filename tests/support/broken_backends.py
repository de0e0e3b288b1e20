"""Backends that each break one rule of the contract, with the check that must find it."""

from __future__ import annotations

import asyncio
import itertools

import msgspec
import numpy as np

from backends.each import each
from backends.interface import BackendUnavailable, ChunkFailed, Take, WordTime
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


class SpeaksWhatWasCancelledMeanwhile(ScriptedBackend):
    def capabilities(self):
        return msgspec.structs.replace(super().capabilities(), host="inline", concurrency=4)

    async def synthesize(self, feed):
        while chunks := await feed.take(4, wait=True):
            for chunk in [chunk for chunk in chunks if not feed.cancelled(chunk.id)]:
                await asyncio.sleep(0.01)
                yield Take(chunk.id, self._pcm(chunk, "tone"), 24_000)


class AsksToWaitInWords(ScriptedBackend):
    def synthesize(self, feed):
        while chunks := feed.take(1, wait=True):
            for chunk in chunks:
                yield ChunkFailed(chunk.id, "busy", retryable=True, retry_after_s="a minute")


class ForgetsItsVoices(ScriptedBackend):
    def voices(self):
        return () if self._loaded else super().voices()


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


class SpeaksALetter(ScriptedBackend):
    def capabilities(self):
        return msgspec.structs.replace(super().capabilities(), languages="en")


class NamesALanguage(ScriptedBackend):
    def capabilities(self):
        return msgspec.structs.replace(super().capabilities(), languages=("english",))


class HasNamesForVoices(ScriptedBackend):
    def voices(self):
        return ("ann",)


class CountsItsRevisions(ScriptedBackend):
    def revision(self):
        return 5


class GivesNothing(ScriptedBackend):
    def synthesize(self, feed):
        return None


class YieldsSamples(ScriptedBackend):
    def synthesize(self, feed):
        while chunks := feed.take(1, wait=True):
            for chunk in chunks:
                yield self._pcm(chunk, "tone")


class GivesAList(ScriptedBackend):
    def synthesize(self, feed):
        return each(feed, lambda chunk: ([0.1] * 100, 24_000))


class CountsInIntegers(ScriptedBackend):
    def synthesize(self, feed):
        return each(feed, lambda chunk: (self._pcm(chunk, "tone") * 30_000, 24_000))


class WarnsInOneWord(ScriptedBackend):
    def synthesize(self, feed):
        while chunks := feed.take(1, wait=True):
            for chunk in chunks:
                yield Take(chunk.id, self._pcm(chunk, "tone"), 24_000, "clipped")


class TellsNoWords(ScriptedBackend):
    words: tuple[WordTime, ...] = ()

    def capabilities(self):
        return msgspec.structs.replace(super().capabilities(), words=True)

    def synthesize(self, feed):
        return each(feed, lambda chunk: Take(chunk.id, self._pcm(chunk, "tone"), 24_000, words=self.words))


class TellsLateWords(TellsNoWords):
    words = (WordTime(0, 10**9, "a"),)


class TellsWordsInDisorder(TellsNoWords):
    words = (WordTime(50, 90, "b"), WordTime(40, 95, "a"))


class TellsHalfSamples(TellsNoWords):
    words = (WordTime(0.5, 2, "a"),)  # type: ignore[arg-type]


BROKEN = [
    (TellsNoWords, "it gives one take for each chunk", "say words=True; a take has 0 word times"),
    (TellsLateWords, "it gives one take for each chunk", "'a' from sample 0 to 1000000000 of a take"),
    (
        TellsWordsInDisorder,
        "it gives one take for each chunk",
        "out of order: 'a' from sample 40 to 95, after one that ends at 90",
    ),
    (TellsHalfSamples, "it gives one take for each chunk", "instead of two whole numbers and a word"),
    (SpeaksALetter, "its capabilities make sense", "`array`, got `str` - at `$.languages`"),
    (NamesALanguage, "its capabilities make sense", "BCP 47 tags such as en or pt-BR, or *; these are not: english"),
    (HasNamesForVoices, "it has voices", "voices() gave str 'ann' instead of a Voice"),
    (CountsItsRevisions, "its revision is always the same", "revision() gave int 5 instead of a str"),
    (GivesNothing, "it returns when the feed is closed", "synthesize gave None, which is no iterator of events"),
    (YieldsSamples, "it gives one take for each chunk", "which is no Take and no ChunkFailed"),
    (GivesAList, "it gives one take for each chunk", "samples in list"),
    (CountsInIntegers, "it gives one take for each chunk", "samples are floats in [-1, 1]"),
    (WarnsInOneWord, "it gives one take for each chunk", "warnings are 'clipped'"),
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
    (
        SpeaksWhatWasCancelledMeanwhile,
        "it drops a chunk that is cancelled while it is spoken",
        "an event for a chunk after its cancel",
    ),
    (AsksToWaitInWords, "it gives one take for each chunk", "retry_after_s is 'a minute' instead of seconds"),
    (ForgetsItsVoices, "it has voices after loading", "none"),
    (ForgetsLongChunks, "it survives a chunk above its limit", "events for chunks []"),
    (DependsOnItsCompany, "the same seed gives the same samples", "sound different"),
    (LoadsOnlyOnce, "it unloads and loads again", "already loaded"),
]
