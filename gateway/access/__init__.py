"""API keys, their scopes and limits, and the usage they are charged with."""

from gateway.access.keys import Keys, NewKey, is_old, state_of
from gateway.access.principal import ENVIRONMENTS, SCOPES, Principal, require
from gateway.access.service import SETTINGS_KEY_ID, Access
from gateway.access.signing import Signer, signing_key

__all__ = [
    "ENVIRONMENTS",
    "SCOPES",
    "SETTINGS_KEY_ID",
    "Access",
    "Keys",
    "NewKey",
    "Principal",
    "Signer",
    "is_old",
    "require",
    "signing_key",
    "state_of",
]
