"""Hide secrets in printed values."""

from __future__ import annotations

import re

_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@\s]*@")

HIDDEN = "***"


def hide_password(url: str | None) -> str | None:
    """Return a database URL with `***` in place of its password."""
    return None if url is None else _PASSWORD.sub(rf"\1{HIDDEN}@", url)
