"""The means of speaking that all utterances of a server share."""

from __future__ import annotations

import msgspec

from gateway.cache.flights import Flights
from gateway.metrics import Metrics
from gateway.speech.speak.chunk_take import ChunkTake
from gateway.speech.speak.retries import Retries
from gateway.speech.speak.takes import Takes


class SpeakingMeans(msgspec.Struct, frozen=True):
    """The parts of the server that every utterance is spoken with.

    Args:
        flights: the takes that are being made, so that equal chunks of all utterances are spoken once.
        window: the most chunks of one utterance between a backend and the file.
        retries: the budget of retries of a chunk.
    """

    takes: Takes
    metrics: Metrics
    flights: Flights[ChunkTake]
    window: int
    retries: Retries
