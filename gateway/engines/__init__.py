"""The hosts of backends and the feed."""
