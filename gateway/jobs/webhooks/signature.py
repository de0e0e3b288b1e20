"""Signs webhooks by the Standard Webhooks specification, so that a receiver can check them with an existing library.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable

SECRET_PREFIX = "whsec_"  # noqa: S105 - the specification's prefix, not a secret


def webhook_secret(signing_key: bytes, tenant: str) -> str:
    """Return the secret with which a tenant's receivers verify signatures: `whsec_` and 32 bytes in base64."""
    key = hmac.digest(signing_key, f"webhook\n{tenant}".encode(), "sha256")
    return SECRET_PREFIX + base64.b64encode(key).decode()


def signed_headers(secret: str, message_id: str, timestamp_s: int, body: Iterable[bytes]) -> dict[str, str]:
    """Return the headers that sign a body.

    Args:
        secret: as from `webhook_secret`.
        message_id: the same for each try of a delivery; without a full stop.
        timestamp_s: the time of this try, in UTC seconds.
        body: the pieces of the body.
    """
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    mac = hmac.new(key, f"{message_id}.{timestamp_s}.".encode(), hashlib.sha256)
    for piece in body:
        mac.update(piece)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": f"v1,{base64.b64encode(mac.digest()).decode()}",
    }
