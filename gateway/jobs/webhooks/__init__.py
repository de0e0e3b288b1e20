"""Delivers webhooks through an HTTP client that refuses private addresses."""
