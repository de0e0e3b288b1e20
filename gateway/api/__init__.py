"""The HTTP surface: RunPod's job API, audio, and what an operator asks. It translates and holds no rule."""

from gateway.api.app import build_app

__all__ = ["build_app"]
