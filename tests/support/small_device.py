"""A backend with a device that has room for one worker."""

from __future__ import annotations

import os
from pathlib import Path

from backends.interface import BackendUnavailable
from backends.testing.scripted import ScriptedBackend

VARIABLE = "SMALL_DEVICE"
"""Variable with the path of the file that stands for the device; the file exists while the device is in use."""


class SmallDeviceBackend(ScriptedBackend):
    def load(self, progress) -> None:
        try:
            Path(os.environ[VARIABLE]).touch(exist_ok=False)
        except FileExistsError as error:
            raise BackendUnavailable("the device has no room", "max_workers = 1") from error
        super().load(progress)
