"""Which backend speaks."""
