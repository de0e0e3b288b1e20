"""The limits a caller sets on one job."""

from __future__ import annotations

from msgspec import UNSET

from gateway.errors import BadRequest
from gateway.jobs.model.views import EXECUTION_TIMEOUT_MS, TTL_MS, Envelope, Policy


def read_policy(envelope: Envelope) -> Policy:
    """The envelope's policy.

    Raises:
        BadRequest: a value out of range, or `s3Config`.
    """
    if envelope.s3Config is not UNSET and bytes(envelope.s3Config) != b"null":
        raise BadRequest(
            "s3Config is not accepted: this server never takes credentials; fetch output.audio_url instead"
        )
    policy = envelope.policy or Policy()
    for name, value, (low, high) in (
        ("executionTimeout", policy.executionTimeout, EXECUTION_TIMEOUT_MS),
        ("ttl", policy.ttl, TTL_MS),
    ):
        if value is not None and not low <= value <= high:
            raise BadRequest(f"policy.{name} is invalid; must be between {low} and {high} milliseconds, got {value}")
    return policy
