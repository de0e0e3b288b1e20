"""The store with a million rows is what tests take it for."""

from __future__ import annotations

from support.large_store import ENDPOINTS, ROWS, RUNNING, TENANTS, WAITING, large_url, shared_folder
from support.storage import select

__all__ = ["large_url", "shared_folder"]


def test_it_holds_a_million_rows_of_each_kind_and_no_reference_to_nothing(large_url: str) -> None:
    for table in ("jobs", "job_events", "cache_entries", "takes", "blobs"):
        assert select(large_url, f"SELECT COUNT(*) FROM {table}") == [(ROWS,)]
    for table in ("jobs", "cache_entries", "takes"):
        lost = f"SELECT COUNT(*) FROM {table} t LEFT JOIN blobs b ON b.hash = t.blob_hash "
        assert select(large_url, f"{lost} WHERE t.blob_hash IS NOT NULL AND b.hash IS NULL") == [(0,)]
    states = dict(select(large_url, "SELECT state, COUNT(*) FROM jobs GROUP BY state"))
    assert (states["IN_QUEUE"], states["IN_PROGRESS"]) == (WAITING - RUNNING, RUNNING)
    waiting = "SELECT COUNT(DISTINCT tenant), COUNT(DISTINCT backend), COUNT(DISTINCT endpoint_id) FROM jobs"
    assert select(large_url, f"{waiting} WHERE state = 'IN_QUEUE'") == [(len(set(TENANTS)), 3, len(ENDPOINTS))]
    counted = "SELECT state, SUM(n) FROM job_counts GROUP BY state ORDER BY state"
    assert select(large_url, counted) == [("IN_PROGRESS", RUNNING), ("IN_QUEUE", WAITING - RUNNING)]
