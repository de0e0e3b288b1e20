"""Claims jobs under a lease, runs them, and writes how they end."""
