"""Speaks utterances, from their plan to the finished file."""

from __future__ import annotations

from pathlib import Path

from gateway.cache.flights import Flights
from gateway.metrics import Metrics
from gateway.speech.speak.means import SpeakingMeans
from gateway.speech.speak.retries import Retries
from gateway.speech.speak.synthesis import Synthesis
from gateway.speech.speak.takes import Takes
from gateway.speech.speak.timing import Timing
from gateway.speech.speak.utterance import SpeakingHost, SpokenUtterance, Utterance, UtteranceListener


class Speaker:
    """Speaks utterances. There is one per process, so that equal chunks in flight are spoken once.

    Args:
        window: the most chunks of one utterance between a backend and the file.
        retries: the budget of retries of a chunk.
    """

    def __init__(self, takes: Takes, metrics: Metrics, *, window: int, retries: Retries) -> None:
        self._means = SpeakingMeans(takes, metrics, Flights(), window, retries)

    async def speak(
        self,
        utterance: Utterance,
        host: SpeakingHost,
        spool: Path,
        timing: Timing,
        listener: UtteranceListener,
    ) -> SpokenUtterance:
        """Speak, join and encode. Some takes may not be stored yet when it returns: see `SpokenUtterance.kept`.

        Args:
            spool: path of the encoded file.

        Raises:
            InvalidInput, UnsupportedText: the text or an option cannot be used.
            SynthesisFailed: the engine failed.
            BackendUnavailable: the backend cannot be loaded.
        """
        synthesis = Synthesis(self._means, utterance, host, timing, listener)
        try:
            return await synthesis.run(spool)
        except BaseException:
            await synthesis.close()
            raise
