"""Cache keys, the hot tier, flights."""
