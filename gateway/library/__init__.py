"""Keeps the voices and the pronunciation dictionaries of tenants."""
