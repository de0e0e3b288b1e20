"""What must never be printed, and how it is shown instead."""

from __future__ import annotations

import re

_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@\s]*@")

HIDDEN = "***"


def hide_password(url: str | None) -> str | None:
    """A database URL whose password is shown as `***`."""
    return None if url is None else _PASSWORD.sub(rf"\1{HIDDEN}@", url)
