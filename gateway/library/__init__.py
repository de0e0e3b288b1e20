"""What tenants bring: voices made of recordings, and pronunciation dictionaries."""
