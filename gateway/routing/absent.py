"""Backends that were named and cannot speak here: why, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

from backends.interface import BackendUnavailable
from gateway.engines.discovery import BackendInfo
from gateway.engines.registry import unregistered


def absence(name: str, found: Mapping[str, BackendInfo]) -> BackendUnavailable:
    """Why a backend that is not loaded is not.

    Args:
        found: every registered backend, by name.
    """
    info = found.get(name)
    if info is None:
        return BackendUnavailable(unregistered(name, found))
    if not info.enabled:
        return BackendUnavailable(f"backend {name} loads only when VOXGATE_PLUGINS names it", "add it there")
    return BackendUnavailable(f"backend {name} is {info.state}: {info.error}", info.cure)


def nobody(found: Mapping[str, BackendInfo]) -> str:
    """Why no backend at all can speak, in words."""
    reasons = "; ".join(str(absence(name, found)) for name, info in found.items() if info.enabled)
    return f"no backend can speak here: {reasons or 'none may load; see VOXGATE_PLUGINS, and run: voxgate backends'}"
