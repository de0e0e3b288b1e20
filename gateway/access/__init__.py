"""Keys, scopes, limits, usage."""
