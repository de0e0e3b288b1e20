"""The durable queue in SQL: submit, claim under a lease, beat, end; its statements in `sql`."""
