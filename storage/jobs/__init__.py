"""The durable job queue in SQL: submit, claim under a lease, beat, end. Its statements are in `sql`."""
