from __future__ import annotations

from support.storage import database_url

__all__ = ["database_url"]
