"""Counts the deaths of a backend's workers and decides when the next one may start."""

from __future__ import annotations

from backends.interface import BackendUnavailable

LOAD_CRASHES = 3
"""Deaths in a row while loading after which the backend is unavailable."""

MAX_RESTART_S = 30.0
MAX_RETRY_S = 60.0


class WorkerHealth:
    """Worker deaths and refusals of one backend. Times are monotonic seconds.

    Attributes:
        not_before: no worker is started before this time.
        restarts: number of workers that died.
        last_error: reason of the last death; None after the next take.
        unavailable: why the backend cannot run.
        permanent: trying again cannot help.
    """

    def __init__(self, restart_s: float) -> None:
        self._restart_s = restart_s
        self._deaths = 0  # since the last take
        self._load_deaths = 0  # since the last worker that loaded
        self._refusals = 0  # since the last worker that loaded
        self.not_before = 0.0
        self.restarts = 0
        self.last_error: str | None = None
        self.unavailable: BackendUnavailable | None = None
        self.permanent = False

    @property
    def failing(self) -> bool:
        """True if workers died or were refused, and no take came since."""
        return self._deaths > 0 or self._load_deaths > 0 or self.unavailable is not None

    @property
    def cannot_load(self) -> bool:
        """True if too many workers in a row died while loading."""
        return self._load_deaths >= LOAD_CRASHES

    def spoke(self) -> None:
        """Record a take."""
        self._deaths, self.last_error = 0, None

    def loaded(self) -> None:
        """Record that a worker is ready."""
        self._load_deaths = self._refusals = 0
        self.unavailable = None

    def died(self, reason: str, now: float, while_loading: bool) -> None:
        """Record that a worker crashed or was killed for silence. The first death of a loaded one causes no pause."""
        self.note(reason)
        if while_loading:
            self._load_deaths += 1
            self._pause(now, self._load_deaths, MAX_RESTART_S)
        else:
            self._deaths += 1
            self._pause(now, self._deaths - 1, MAX_RESTART_S)

    def note(self, reason: str) -> None:
        """Record the end of a worker that does not count against the backend."""
        self.restarts += 1
        self.last_error = reason

    def refuse(self, error: BackendUnavailable, now: float, permanent: bool = False) -> None:
        """Record that the backend cannot run or cannot be loaded."""
        self.unavailable, self.permanent = error, permanent or self.permanent
        self._refusals += 1
        self._load_deaths = 0
        self._pause(now, self._refusals, MAX_RETRY_S)

    def refusing(self, now: float) -> BackendUnavailable | None:
        """Return the error that new chunks get now; None if they may wait for a worker."""
        return self.unavailable if self.permanent or now < self.not_before else None

    def _pause(self, now: float, times: int, max_s: float) -> None:
        if times > 0:
            self.not_before = max(self.not_before, now + min(self._restart_s * 2 ** (times - 1), max_s))
