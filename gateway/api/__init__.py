"""The HTTP API: RunPod's job API, OpenAI's speech API, and voxgate's own. It translates requests and holds no rules."""

from gateway.api.app import build_app

__all__ = ["build_app"]
