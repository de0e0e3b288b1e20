"""How a backend has been doing: what its workers died of, and when the next may start."""

from __future__ import annotations

from backends.interface import BackendUnavailable

LOAD_CRASHES = 3
"""So many deaths while loading, one after the other, mean that the backend is unavailable."""

MAX_RESTART_S = 30.0
MAX_RETRY_S = 60.0


class WorkerHealth:
    """The memory of a host about deaths and refusals. Times are monotonic seconds.

    Attributes:
        not_before: no worker is started earlier.
        restarts: workers that died.
        last_error: why the last one did, until something was spoken again.
        unavailable: why the backend cannot run; `permanent` when trying again cannot help.
    """

    def __init__(self, restart_s: float) -> None:
        self._restart_s = restart_s
        self._deaths = 0  # since the last take
        self._load_deaths = 0  # since the last worker that loaded
        self._refusals = 0  # likewise
        self.not_before = 0.0
        self.restarts = 0
        self.last_error: str | None = None
        self.unavailable: BackendUnavailable | None = None
        self.permanent = False

    @property
    def failing(self) -> bool:
        """Whether workers died and nothing was spoken since."""
        return self._deaths > 0 or self._load_deaths > 0 or self.unavailable is not None

    @property
    def cannot_load(self) -> bool:
        """Whether waiting for the next start is in vain."""
        return self._load_deaths >= LOAD_CRASHES

    def spoke(self) -> None:
        """A take came."""
        self._deaths, self.last_error = 0, None

    def loaded(self) -> None:
        """A worker is ready."""
        self._load_deaths = self._refusals = 0
        self.unavailable = None

    def died(self, reason: str, now: float, while_loading: bool) -> None:
        """A worker ended on its own or was killed for its silence. The first death of a loaded one costs no pause."""
        self.note(reason)
        if while_loading:
            self._load_deaths += 1
            self._pause(now, self._load_deaths, MAX_RESTART_S)
        else:
            self._deaths += 1
            self._pause(now, self._deaths - 1, MAX_RESTART_S)

    def note(self, reason: str) -> None:
        """A worker ended, and it says nothing about the backend."""
        self.restarts += 1
        self.last_error = reason

    def refuse(self, error: BackendUnavailable, now: float, permanent: bool = False) -> None:
        """The backend says that it cannot run, or it cannot be loaded."""
        self.unavailable, self.permanent = error, permanent or self.permanent
        self._refusals += 1
        self._load_deaths = 0
        self._pause(now, self._refusals, MAX_RETRY_S)

    def refusing(self, now: float) -> BackendUnavailable | None:
        """What new chunks are told now, instead of being let wait."""
        return self.unavailable if self.permanent or now < self.not_before else None

    def _pause(self, now: float, times: int, most_s: float) -> None:
        if times > 0:
            self.not_before = max(self.not_before, now + min(self._restart_s * 2 ** (times - 1), most_s))
