"""The settings: the Structs that hold them, their sources, and the checks before a start."""

from gateway.settings.fields import SettingDoc, describe
from gateway.settings.load import NOT_SETTINGS, load_settings
from gateway.settings.model import CacheSettings, DatabaseSettings, EndpointSettings, JobSettings, Settings
from gateway.settings.nearest import nearest
from gateway.settings.section import decode_section

__all__ = [
    "NOT_SETTINGS",
    "CacheSettings",
    "DatabaseSettings",
    "EndpointSettings",
    "JobSettings",
    "SettingDoc",
    "Settings",
    "decode_section",
    "describe",
    "load_settings",
    "nearest",
]
