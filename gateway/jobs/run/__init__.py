"""Claims jobs under a lease, runs them, and writes their ends."""
