"""Chooses the backend that speaks a request."""
