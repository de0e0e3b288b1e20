"""The stores of a server: jobs and everything that is kept for them."""

from __future__ import annotations

import msgspec

from storage.cache_entries import CacheStore
from storage.files.audio import AudioStore
from storage.jobs.queue import JobStore
from storage.outcomes import OutcomeStore
from storage.takes import TakeStore
from storage.voices import VoiceStore


class Stores(msgspec.Struct, frozen=True, kw_only=True):
    """The stores on one database and one audio folder."""

    jobs: JobStore
    cache: CacheStore
    takes: TakeStore
    voices: VoiceStore
    outcomes: OutcomeStore
    audio: AudioStore
