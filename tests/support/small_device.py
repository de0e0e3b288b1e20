"""A backend whose device has room for one worker."""

from __future__ import annotations

import os
from pathlib import Path

from backends.interface import BackendUnavailable
from backends.testing.scripted import ScriptedBackend

VARIABLE = "SMALL_DEVICE"
"""Names the file that stands for the device; it is there while the device is taken."""


class SmallDeviceBackend(ScriptedBackend):
    def load(self, progress) -> None:
        try:
            Path(os.environ[VARIABLE]).touch(exist_ok=False)
        except FileExistsError as error:
            raise BackendUnavailable("the device has no room", "max_workers = 1") from error
        super().load(progress)
